"""How offences of chargers against the schema are logged and shown."""

import logging
from typing import Any

import pytest

from charger_service.offences import MOST_SHOWN
from charger_service.ports import Offence

pytestmark = pytest.mark.anyio

OFFENCE = Offence("StatusNotification", "info: longer than 50 characters", is_refused=False)


async def test_an_offence_is_shown_at_its_charger_and_counted(house: Any) -> None:
    house.limits.reports.offended("CP-1", OFFENCE)
    house.clock.advance(5)
    house.limits.reports.offended("CP-1", OFFENCE)

    (shown,) = house.limits.views.charger("CP-1").offences
    assert (shown.message, shown.reason, shown.count) == (OFFENCE.message, OFFENCE.reason, 2)
    assert shown.last_at == house.clock.now()
    assert house.limits.views.charger("CP-2").offences is None


async def test_it_is_logged_once_a_minute_and_charger(house: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(70):
        house.clock.advance(1)
        house.limits.reports.offended("CP-1", OFFENCE)
    house.limits.reports.offended("CP-2", OFFENCE)

    told = [(record.__dict__["charger_id"], record.__dict__["reason"]) for record in caplog.records]
    assert told == [("CP-1", OFFENCE.reason)] * 2 + [("CP-2", OFFENCE.reason)]


async def test_offences_are_bounded_and_the_newest_stay(house: Any) -> None:
    for number in range(100):
        house.limits.reports.offended("CP-1", Offence("Heartbeat", f"unknown field {number}", is_refused=False))

    shown = house.limits.views.charger("CP-1").offences
    assert len(shown) == MOST_SHOWN
    assert shown[0].reason == "unknown field 99"
