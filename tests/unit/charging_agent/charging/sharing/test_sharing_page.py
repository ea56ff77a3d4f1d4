"""The example on the page on sharing."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from charging_agent.charging.sharing import Car, LimitedBy, Memory, SharingPolicy, SiteRoom, allocate

PAGE = Path(__file__).resolve().parents[5] / "docs" / "sharing.md"
NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
CARS = (
    Car(("A", 1), (1, 2, 3), max_a=32.0),
    Car(("B", 1), (1,), max_a=32.0, energy_left_kwh=7.36, departure=NOON + timedelta(hours=2)),
    Car(("C", 1), (1,), max_a=16.0, guaranteed_a=8.0),
)
ROOM = SiteRoom(
    total_kw=18.0,
    phase_a=(32.0, 32.0, 32.0),
    feeder_a={"main": (40.0, 40.0, 40.0)},
    voltage_v=230.0,
    ceiling_kw=11.0,
)
LESS = replace(ROOM, total_kw=6.0)
ROUNDS = ((0, ROOM), (15, ROOM), (30, LESS), (45, replace(LESS, pauses=True)), (105, LESS))


def test_the_example_comes_to_what_the_page_says() -> None:
    memory, expected = Memory.initial(), list[tuple[str, ...]]()
    for after_s, room in ROUNDS:
        result = allocate(CARS, room, memory, NOON + timedelta(seconds=after_s), SharingPolicy())
        memory = result.memory
        cells = (f"{one.limit_a:g} A `{one.limited_by}`" for one in result.allotments)
        expected.append((f"{after_s} s", *cells))

    table = re.findall(
        r"(?m)^\| (\d+ s) \| [^|]+ \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(encoding="utf-8")
    )
    assert table == expected


def test_every_word_for_a_limit_is_explained() -> None:
    explained = set(re.findall(r"`([a-z_]+)`", PAGE.read_text(encoding="utf-8")))

    assert {str(word) for word in LimitedBy} - explained == set()
