"""Audit logs in the state database: kills and revives of applications, and orders of operators.

Records are only added. A kill is over when it is recorded, and one that cannot be written is refused, so that its
client keeps it. An order is executed whether or not it can be written.
"""

import json
import logging
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from sqlalchemy import Connection, Table, delete, func, insert, select

from charger_service.kill_audit import Act, Acts, AuthenticatedCaller, RecordedAct
from charger_service.orders import (
    DepartureOrder,
    GridSignalAct,
    ModeOrder,
    OrderKind,
    Orders,
    OverrideOrder,
    ProtectionAct,
    RecordedOrder,
    SiteLimitOrder,
)
from charger_service.store import StateStore, StoreError, kills, orders
from ev_service.errors import ConfigurationError, EvError

MAX_BYTES = 64 << 20
"""Size of a log above which nothing is added [bytes]: years of operators, and a bound for whoever fills it."""
_MAX_IN_MEMORY = 1000
_ORDER_KINDS = {
    SiteLimitOrder: OrderKind.SITE_LIMIT,
    DepartureOrder: OrderKind.DEPARTURE,
    ModeOrder: OrderKind.MODE,
    OverrideOrder: OrderKind.OVERRIDE,
    ProtectionAct: OrderKind.PROTECTION,
    GridSignalAct: OrderKind.GRID_SIGNAL,
}

_logger = logging.getLogger(__name__)

R = TypeVar("R", RecordedAct, RecordedOrder)


class RecordNotWrittenError(EvError):
    """The act could not be written, and is not in the audit log."""

    code: ClassVar[str] = "record_not_kept"
    http_status: ClassVar[int] = 507


class _AuditLog(Generic[R]):
    """Records of one model in one table.

    Versions before kept each log in a file of JSON lines. Its lines are imported at the start, in one transaction, and
    the file gets the suffix `.imported`. Lines that are in the table already are left out, so that an import that was
    interrupted is repeated. Where the database cannot be written, the import waits for the next record.

    Args:
        store: the database.
        now: the run's clock.
        old_file: file of a version before; None: there is none.

    Raises:
        ConfigurationError: the old file cannot be read.
    """

    _table: ClassVar[Table]
    _model: type[R]

    def __init__(self, store: StateStore, now: Callable[[], datetime], old_file: Path | None = None) -> None:
        self._store, self._now, self._old_file = store, now, old_file
        self._pending = _read_lines(old_file)
        if self._pending is not None:
            try:
                store.write_now(self._import)
            except StoreError as error:
                _logger.error("an audit log is not imported", extra={"file": str(old_file), "reason": error.message})
            else:
                self._finish_import()
        try:
            self._bytes: int = store.read_now(self._measure)
        except StoreError:
            # It is damaged: nothing will be written.
            self._bytes = 0

    def write_error(self) -> str | None:
        """Why the next record could not be written; None: it could."""
        if (error := self._store.write_error()) is not None:
            return error
        if self._pending is not None:
            return f"{self._old_file} is not imported yet"
        return None if self._bytes < MAX_BYTES else self._size_error()

    def _event_id(self, record: R) -> str | None:
        """Id by which the same event is recorded once; None: every record is an event of its own."""
        return None

    async def _append(self, record: R) -> tuple[R, bool]:
        """Write a record; return it with its number, and whether it is new.

        Raises:
            StoreError: it could not be written.
        """
        content = record.model_dump_json(exclude={"number"})
        if self._bytes + len(content) > MAX_BYTES:
            raise StoreError(self._size_error())
        number, known = await self._store.write(self._insert, content, self._event_id(record))
        if self._pending is not None:
            self._finish_import()
        if known is not None:
            return self._parse(number, known) or record, False
        self._bytes += len(content)
        return record.model_copy(update={"number": number}), True

    async def _page(self, limit: int, before: int | None) -> tuple[tuple[R, ...], int | None, int]:
        """Records with numbers below `before`, the newest first; `before` of the next page; number of damaged lines."""
        rows, damaged = await self._store.read(self._select, limit + 1, min(before or sys.maxsize, sys.maxsize))
        records = (self._parse(number, content) for number, content in rows[:limit])
        next_before = rows[limit - 1][0] if len(rows) > limit else None
        return tuple(record for record in records if record is not None), next_before, damaged

    def _parse(self, number: int, content: str) -> R | None:
        try:
            return self._model.model_validate({**json.loads(content), "number": number})
        except (ValueError, TypeError, RecursionError):
            return None

    def _insert(self, connection: Connection, content: str, event_id: str | None) -> tuple[int, str | None]:
        """Add a record, after those of the old file; where its event is known, return that one's content as well."""
        self._import(connection)
        columns = self._table.c
        if event_id is not None:
            known = connection.execute(select(columns.number, columns.content).where(columns.event_id == event_id))
            for number, before in known:
                return number, before
        added = connection.execute(insert(self._table).values(event_id=event_id, content=content))
        number: int = added.lastrowid
        if not self._store.is_on_disk:
            connection.execute(delete(self._table).where(columns.number <= number - _MAX_IN_MEMORY))
        return number, None

    def _select(self, connection: Connection, limit: int, before: int) -> tuple[list[tuple[int, str]], int]:
        columns = self._table.c
        is_readable = columns.content.is_not(None)
        newest = select(columns.number, columns.content).where(is_readable, columns.number < before)
        rows = connection.execute(newest.order_by(columns.number.desc()).limit(limit))
        damaged = connection.scalar(select(func.count()).select_from(self._table).where(~is_readable))
        return [(number, content) for number, content in rows], damaged or 0

    def _measure(self, connection: Connection) -> int:
        return connection.scalar(select(func.sum(func.length(self._table.c.content)))) or 0

    def _import(self, connection: Connection) -> None:
        """Add the lines of the old file that are not in the table."""
        columns = self._table.c
        if not self._pending:
            return
        known = set(connection.scalars(select(func.coalesce(columns.content, columns.damaged))))
        event_ids = set(connection.scalars(select(columns.event_id)))
        for line in self._pending:
            if line in known:
                continue
            record = self._parse(1, line)
            event_id = None if record is None else self._event_id(record)
            row = {"damaged": line} if record is None else {"content": line}
            connection.execute(insert(self._table).values(event_id=None if event_id in event_ids else event_id, **row))
            event_ids.add(event_id)

    def _finish_import(self) -> None:
        file, self._pending = self._old_file, None
        if file is None:
            return
        imported = file.with_name(f"{file.name}.imported")
        _logger.warning("an audit log was imported", extra={"file": str(file)})
        try:
            # One that is there already is not replaced; the next start imports nothing twice.
            if not imported.exists():
                file.rename(imported)
        except OSError:
            _logger.exception("an imported audit log could not be renamed", extra={"file": str(file)})

    def _size_error(self) -> str:
        return f"the table {self._table.name} has reached {MAX_BYTES >> 20} MiB"


class KillAuditLog(_AuditLog[RecordedAct]):
    """Kills and revives, in the order of recording."""

    _table, _model = kills, RecordedAct

    def __init__(self, store: StateStore, now: Callable[[], datetime], old_file: Path | None = None) -> None:
        super().__init__(store, now, old_file)
        if not store.is_on_disk:
            _logger.warning("kills are recorded in memory, and lost with this process: CHARGERS_STATE_DIR is not set")

    def _event_id(self, record: RecordedAct) -> str:
        return str(record.act_id)

    async def add(self, act: Act, proved: AuthenticatedCaller | None) -> tuple[RecordedAct, bool]:
        """Write an act.

        Returns:
            The act as it is recorded, and whether it is new: the same act is recorded once.

        Raises:
            RecordNotWrittenError: it could not be written.
        """
        record = RecordedAct(**dict(act), number=1, recorded_at=self._now(), proved=proved)
        try:
            recorded, is_new = await self._append(record)
        except StoreError as error:
            _logger.error("an act could not be recorded", extra={"kind": act.kind, "reason": error.message})
            raise RecordNotWrittenError(f"the act is not recorded: {error.message}") from error
        if is_new:
            by = "unknown" if proved is None else proved.user
            _logger.warning("act recorded", extra={"kind": act.kind, "application": act.application, "by": by})
        return recorded, is_new

    async def page(self, limit: int, before: int | None) -> Acts:
        """The newest acts with numbers below `before`, the newest first.

        Raises:
            StoreError: they cannot be read.
        """
        acts, next_before, damaged = await self._page(limit, before)
        return Acts(kills=acts, next_before=next_before, is_kept_on_disk=self._store.is_on_disk, damaged_lines=damaged)


class OrderAuditLog(_AuditLog[RecordedOrder]):
    """Orders of operators, reductions by protection and changes by the grid operator's signal, in their order."""

    _table, _model = orders, RecordedOrder

    async def add(
        self,
        order: SiteLimitOrder | DepartureOrder | ModeOrder | OverrideOrder | ProtectionAct | GridSignalAct,
        proved: AuthenticatedCaller | None,
        session_id: str | None = None,
    ) -> bool:
        """Write an order; False: it could not be written, which log and health report."""
        kind = _ORDER_KINDS[type(order)]
        by = "unknown" if proved is None else proved.user
        _logger.warning("order given", extra={"kind": kind, "by": by})
        record = RecordedOrder(
            number=1,
            recorded_at=self._now(),
            kind=kind,
            session_id=session_id,
            site_limit=order if isinstance(order, SiteLimitOrder) else None,
            departure=order if isinstance(order, DepartureOrder) else None,
            mode=order if isinstance(order, ModeOrder) else None,
            override=order if isinstance(order, OverrideOrder) else None,
            protection=order if isinstance(order, ProtectionAct) else None,
            grid_signal=order if isinstance(order, GridSignalAct) else None,
            proved=proved,
        )
        try:
            await self._append(record)
        except StoreError as error:
            _logger.error("an order could not be recorded", extra={"kind": kind, "by": by, "reason": error.message})
            return False
        return True

    async def page(self, limit: int, before: int | None) -> Orders:
        """The newest orders with numbers below `before`, the newest first.

        Raises:
            StoreError: they cannot be read.
        """
        found, next_before, _ = await self._page(limit, before)
        return Orders(orders=found, next_before=next_before, is_kept_on_disk=self._store.is_on_disk)


def _read_lines(file: Path | None) -> list[str] | None:
    """Lines of a file, the last one also where it was never finished; None: there is no file."""
    if file is None:
        return None
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be imported: {error.strerror}") from error
    lines = [line.decode(errors="backslashreplace") for line in content.split(b"\n")]
    return lines if lines[-1] else lines[:-1]
