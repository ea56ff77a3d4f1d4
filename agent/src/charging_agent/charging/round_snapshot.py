"""What one round knew of the chargers, planned for them and was answered: what the ledger keeps of it."""

from dataclasses import dataclass
from datetime import datetime

from charging_agent.charging.limit_setter import Commanded
from charging_agent.charging.overdraw_monitor import Alarms
from charging_agent.charging.planning import Plan
from charging_agent.readings.assessment import Judged
from ev_service.charging import Chargers


@dataclass(frozen=True, slots=True)
class Noted:
    """The chargers at the moment of a decision.

    seen: the reading as judged. alarms: what was not as commanded. at: when the reading was so, None without one.
    plan: the limits that this decision leads to; None where none are made of it.
    commanded: the last try to set limits that is in no record yet.
    """

    seen: Judged[Chargers]
    alarms: Alarms
    plan: Plan | None
    commanded: Commanded | None

    @property
    def at(self) -> datetime | None:
        return None if self.seen.reading is None else self.seen.reading.timestamp
