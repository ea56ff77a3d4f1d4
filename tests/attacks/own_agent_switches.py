"""Ways to switch off what the own agent holds against readers and chargers. Nothing of the stack is changed."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from tests.attacks.permissive_servers import SwitchTarget

from charging_agent.charging import controller
from charging_agent.charging.meter_checks import MeterEvidence
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.readers import RecordQueries
from ev_service.charging import Chargers
from ev_service.charging_evidence import ConfirmedCharging


def readers_in_the_writers_queue(_: SwitchTarget) -> AbstractContextManager[object]:
    """Whoever reads the ledger waits in the queue in which records are written."""

    async def read(ledger: Ledger, work: Callable[[RecordQueries], Any]) -> Any:
        private = ledger.__dict__

        def in_the_writers_thread() -> Any:
            connection: sqlite3.Connection = private["_store"].connect_reader()
            try:
                return work(RecordQueries(connection))
            finally:
                connection.close()

        return await Ledger.__dict__["_run_in_thread"](ledger, in_the_writers_thread)

    return patch.object(Ledger, "_read", read)


def reports_are_believed(_: SwitchTarget) -> AbstractContextManager[object]:
    """What a charger reports counts without the connection's meter."""

    class Believing(MeterEvidence):
        def confirm(self, chargers: Chargers) -> ConfirmedCharging:
            return ConfirmedCharging(
                {
                    (one.charger_id, evse.evse_id): evse.measured.power_kw
                    for one in chargers.chargers
                    for evse in one.evses
                    if evse.measured is not None
                }
            )

    return patch.object(controller, "MeterEvidence", Believing)
