"""Write `.env.example` from the settings classes: every variable once, with its meaning, unit and default.

`--check` changes nothing and exits 1 when the file is not what the classes say.
"""

import sys
from pathlib import Path
from textwrap import wrap

from docker_stack.env_file import DEFAULT_PROFILES
from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from battery_service.sources import BatteryModbusSettings, BatteryMqttSettings, BatterySourceSettings
from charger_service.meter_source import MeterModbusSettings, MeterMqttSettings
from charger_service.settings import (
    ChargerSettings,
    GridSignalSettings,
    MeterSettings,
    OcppSettings,
    ProtectionSettings,
)
from charging_agent.settings import AgentSettings, GatewaySettings
from ev_sensors.settings import MqttSettings
from ev_service.connections import ListenerSettings
from ev_service.history.settings import HistorySettings
from ev_service.settings import PLACEHOLDER, RunSettings, Settings, SiteSettings
from grid_service.forecast_settings import ForecastSettings
from grid_service.prices.settings import PriceMqttSettings, PriceSettings
from grid_service.sources import GridModbusSettings, GridMqttSettings, GridSourceSettings
from local_gateway.settings import LocalGatewaySettings
from local_stack.environment import PortSettings, StackSettings
from site_model.parameters import Building, Panels, Storage, Weather
from site_twin.settings import TwinSettings
from solar_service.sources import SolarModbusSettings, SolarMqttSettings, SolarSourceSettings
from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_provisioning.settings import KeyStoreSettings, ProvisioningSettings, SwitchSettings

FILE = Path(__file__).resolve().parent.parent / ".env.example"


class _Stack(Settings):
    """Further variables of compose.yaml; Compose reads them, no process of ours does."""

    compose_profiles: str = Field(
        default=DEFAULT_PROFILES,
        description="Gateway of make up: wso2 (API Manager, 4 GiB for Docker) or local (local gateway); "
        "with simulation beside it, the devices of a simulated site.",
    )
    mosquitto_image: str = Field(default="eclipse-mosquitto:2.0.22", description="The devices' broker.")
    mqtt_users: str = Field(default="pv-1 bess-1 meter-1", description="Devices that may connect to the broker.")
    field_dir: str = Field(
        default="field",
        description="Folder with what the devices' side needs (chargers.json, ca.pem, broker.pem …), or the volume "
        "where simulated devices have it.",
    )
    field_address: str = Field(default="127.0.0.1", description="Address on which broker and charger service listen.")
    mqtt_tls_port: int = Field(default=8883, description="Published port of the broker, TLS.")
    ocpp_tls_port: int = Field(default=9001, description="Published port of the charger service, OCPP with TLS.")
    wso2am_version: str = Field(default="4.6.0", description="Tag of the image wso2/wso2am.")
    wso2am_memory: str = Field(default="3072m", description="What its container may take.")
    wso2am_heap: str = Field(
        default="-Xms512m -Xmx1024m",
        description="What a Java heap may take of that; there are two: the server's and its diagnostics tool's.",
    )
    edge_address: str = Field(default="127.0.0.1", description="Address that the published ports listen on.")
    gateway_https_port: int = Field(default=8243, description="Published port of the gateway, TLS.")
    gateway_http_port: int = Field(default=8280, description="Published port of the gateway, plain.")
    gateway_management_port: int = Field(default=9443, description="Published port of REST APIs, tokens and portals.")
    python_image: str = Field(default="python:3.13-slim", description="What our images are built on.")


SECTIONS: dict[str, tuple[type[BaseSettings], ...]] = {
    "Every process": (RunSettings,),
    "Every HTTP listener: services, agent, local gateway": (ListenerSettings,),
    "The site: services and agent": (SiteSettings, Weather),
    "Broker of devices: services whose source is mqtt": (MqttSettings,),
    "Kept readings: solar, battery and grid service": (HistorySettings,),
    "Solar service": (SolarSourceSettings, SolarMqttSettings, SolarModbusSettings, Panels),
    "Battery service": (BatterySourceSettings, BatteryMqttSettings, BatteryModbusSettings, Storage),
    "Grid service": (
        GridSourceSettings,
        GridMqttSettings,
        GridModbusSettings,
        PriceSettings,
        PriceMqttSettings,
        ForecastSettings,
        Building,
    ),
    "Charger service": (
        ChargerSettings,
        OcppSettings,
        MeterSettings,
        MeterMqttSettings,
        MeterModbusSettings,
        ProtectionSettings,
        GridSignalSettings,
    ),
    "Site twin: the devices of a simulated site": (TwinSettings,),
    "Agent: how it decides": (AgentSettings,),
    "Agent: who it is at the gateway": (GatewaySettings,),
    "Bootstrap": (ProvisioningSettings,),
    "Kill and revive": (SwitchSettings,),
    "Keys of WSO2": (KeyStoreSettings,),
    "Local gateway": (LocalGatewaySettings,),
    "make run and make demo": (PortSettings, StackSettings),
    "Containers: make up": (_Stack,),
}

HEAD = """\
# Every setting, with its meaning, unit and default. Written by scripts/env_example.py; an empty variable counts as
# unset. A secret that still begins with "change-me" refuses to start. Passwords: 5 to 30 characters, no blanks.
"""


def main() -> int:
    """Write the file, or check it."""
    written: set[str] = set()
    text = HEAD + "".join(_section(title, classes, written) for title, classes in SECTIONS.items())
    if "--check" in sys.argv[1:]:
        is_current = FILE.exists() and FILE.read_text(encoding="utf-8") == text
        print("as it must be" if is_current else ".env.example is not current: run scripts/env_example.py")
        return 0 if is_current else 1
    FILE.write_text(text, encoding="utf-8", newline="\n")
    return 0


def _section(title: str, classes: tuple[type[BaseSettings], ...], written: set[str]) -> str:
    lines = [f"\n# --- {title} ---\n"]
    for settings in classes:
        prefix = str(settings.model_config.get("env_prefix", ""))
        for name, field in settings.model_fields.items():
            variable = f"{prefix}{name}".upper()
            # Some variables are read by two processes; they stand where they are met first.
            if variable not in written:
                lines.append(_entry(variable, field))
            written.add(variable)
    if ProvisioningSettings in classes:
        lines += [f"# Where the gateway finds a service.\n#{name}={url}\n" for name, url in DEFAULT_BACKENDS.items()]
    return "".join(lines)


def _entry(name: str, field: FieldInfo) -> str:
    meaning = "\n".join(f"# {line}" for line in wrap(field.description or "", 110))
    if "SecretStr" in str(field.annotation):
        # Passwords of brokers and databases are made there, not chosen here.
        is_chosen = name.endswith("PASSWORD") and not name.endswith(("MQTT_PASSWORD", "DATABASE_PASSWORD"))
        return f"{meaning}\n{name}={PLACEHOLDER}\n" if is_chosen else f"{meaning}\n#{name}=\n"
    default = "" if field.default is None else str(field.default)
    if name == "COMPOSE_PROFILES":
        # Set, because Compose has no default for it.
        return f"{meaning}\n{name}={default}\n"
    return f"{meaning}\n#{name}={default.lower() if isinstance(field.default, bool) else default}\n"


if __name__ == "__main__":
    sys.exit(main())
