"""What one round knew of the chargers, planned for them and was answered: what the ledger keeps of it."""

from dataclasses import dataclass
from datetime import datetime

from charging_agent.charging.limit_setter import CommandResult
from charging_agent.charging.overdraw_monitor import Alarms
from charging_agent.charging.planning import ChargingPlan
from charging_agent.readings.assessment import AssessedReading
from ev_service.charging import Chargers


@dataclass(frozen=True, slots=True)
class RoundSnapshot:
    """The chargers at the moment of a decision.

    seen: the reading as judged. alarms: what was not as commanded. at: when the reading was so, None without one.
    plan: the limits that this decision leads to; None where none are made of it.
    commanded: the last try to set limits that is in no record yet.
    """

    reading: AssessedReading[Chargers]
    alarms: Alarms
    plan: ChargingPlan | None
    command: CommandResult | None

    @property
    def at(self) -> datetime | None:
        return None if self.reading.reading is None else self.reading.reading.timestamp
