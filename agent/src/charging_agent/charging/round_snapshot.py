"""Charger state, plan and command result of one round, as stored in the ledger."""

from dataclasses import dataclass
from datetime import datetime

from charging_agent.charging.limit_setter import CommandResult
from charging_agent.charging.overdraw_monitor import Alarms
from charging_agent.charging.planning import ChargingPlan
from charging_agent.readings.assessment import AssessedReading
from ev_service.charging import Chargers


@dataclass(frozen=True, slots=True)
class RoundSnapshot:
    """The chargers at the time of a decision."""

    reading: AssessedReading[Chargers]
    """Assessed reading of the chargers."""
    alarms: Alarms
    """Deviations from what was commanded."""
    plan: ChargingPlan | None
    """Limits that the decision leads to; None where there are none."""
    command: CommandResult | None
    """Last attempt to set limits that is in no record yet."""

    @property
    def at(self) -> datetime | None:
        return None if self.reading.reading is None else self.reading.reading.timestamp
