"""Ways to switch off what the own agent holds against its readers. Nothing of the stack is changed."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from tests.attacks.open_doors import Scene

from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.readers import Records


def readers_in_the_writers_queue(_: Scene) -> AbstractContextManager[object]:
    """Whoever reads the ledger waits in the queue in which records are written."""

    async def read(ledger: Ledger, work: Callable[[Records], Any]) -> Any:
        private = ledger.__dict__

        def in_the_writers_thread() -> Any:
            connection: sqlite3.Connection = private["_store"].reader()
            try:
                return work(Records(connection))
            finally:
                connection.close()

        return await Ledger.__dict__["_in_thread"](ledger, in_the_writers_thread)

    return patch.object(Ledger, "_read", read)
