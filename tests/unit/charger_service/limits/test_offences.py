"""How offences of chargers against the schema are logged and shown."""

import logging
from typing import Any

import pytest

from charger_service.ports import SchemaViolation
from charger_service.schema_violations import MOST_SHOWN

pytestmark = pytest.mark.anyio

VIOLATION = SchemaViolation("StatusNotification", "info: longer than 50 characters", is_refused=False)


async def test_an_offence_is_shown_at_its_charger_and_counted(house: Any) -> None:
    house.limits.events.on_schema_violation("CP-1", VIOLATION)
    house.clock.advance(5)
    house.limits.events.on_schema_violation("CP-1", VIOLATION)

    (shown,) = house.limits.views.charger("CP-1").offences
    assert (shown.message, shown.reason, shown.count) == (VIOLATION.message, VIOLATION.reason, 2)
    assert shown.last_at == house.clock.now()
    assert house.limits.views.charger("CP-2").offences is None


async def test_it_is_logged_once_a_minute_and_charger(house: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(70):
        house.clock.advance(1)
        house.limits.events.on_schema_violation("CP-1", VIOLATION)
    house.limits.events.on_schema_violation("CP-2", VIOLATION)

    told = [(record.__dict__["charger_id"], record.__dict__["reason"]) for record in caplog.records]
    assert told == [("CP-1", VIOLATION.reason)] * 2 + [("CP-2", VIOLATION.reason)]


async def test_offences_are_bounded_and_the_newest_stay(house: Any) -> None:
    for number in range(100):
        house.limits.events.on_schema_violation(
            "CP-1", SchemaViolation("Heartbeat", f"unknown field {number}", is_refused=False)
        )

    shown = house.limits.views.charger("CP-1").offences
    assert len(shown) == MOST_SHOWN
    assert shown[0].reason == "unknown field 99"
