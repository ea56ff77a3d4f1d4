"""The three readings that the agent takes, and their APIs on the gateway.

The names, contexts and scopes are those of the artifacts under wso2/; a contract test holds them together.
"""

from charging_agent.gateway.calls import ReadingApi
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

SOLAR = ReadingApi("solar", "/solar-status", "getSolarStatus", SolarStatus)
BATTERY = ReadingApi("battery", "/battery-status", "getBatteryStatus", BatteryStatus)
GRID = ReadingApi("grid", "/grid-load", "getGridLoad", GridLoad)
APIS = (SOLAR, BATTERY, GRID)
