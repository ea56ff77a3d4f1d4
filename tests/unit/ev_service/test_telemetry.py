"""Wire models refuse whole what breaks a bound, and survive their own JSON."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ev_service.telemetry import BatteryStatus, GridLoad, Reading, SolarStatus
from ev_service.units import utc_text

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
SAID: dict[type[Reading], dict[str, Any]] = {
    SolarStatus: {"generation_kw": 41.0, "capacity_kwp": 50.0},
    BatteryStatus: {"soc_percent": 83.0, "capacity_kwh": 100.0},
    GridLoad: {"load_percent": 61.0, "load_kw": 61.0, "limit_kw": 100.0},
}
NUMBERS = [(model, name) for model, fields in SAID.items() for name in fields]


def body(model: type[Reading], **changes: Any) -> str:
    shared = {"site_id": "greensboro", "timestamp": "2026-06-21T12:00:00Z", "source": "simulated"}
    return json.dumps(shared | SAID[model] | changes)


@pytest.mark.parametrize(("model", "name"), NUMBERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), "41", True, None, [], {}, -1e-9])
def test_a_number_that_is_none_or_negative_is_refused(model: type[Reading], name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        model.model_validate_json(body(model, **{name: value}))


@pytest.mark.parametrize(("model", "name"), NUMBERS)
def test_a_number_beyond_a_double_is_refused(model: type[Reading], name: str) -> None:
    huge = body(model, **{name: 4711}).replace("4711", "1e999")

    with pytest.raises(ValidationError, match=name):
        model.model_validate_json(huge)


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (BatteryStatus, {"soc_percent": 100.1}),
        (BatteryStatus, {"soc_percent": 101.0}),
        (BatteryStatus, {"capacity_kwh": 0.0}),
        (SolarStatus, {"capacity_kwp": 0.0}),
        (SolarStatus, {"poa_global_w_m2": -1.0}),
        (GridLoad, {"limit_kw": 0.0}),
        (GridLoad, {"export_kw": -1.0}),
        (GridLoad, {"includes_charging": "yes"}),
        (GridLoad, {"site_id": ""}),
        (GridLoad, {"site_id": "x" * 65}),
        (GridLoad, {"source": ""}),
        (GridLoad, {"timestamp": "2026-06-21T12:00:00"}),
        (GridLoad, {"timestamp": "2026-13-21T12:00:00Z"}),
        (GridLoad, {"timestamp": 1_782_043_200}),
        (GridLoad, {"timestamp": "0001-01-01T00:00:00+05:00"}),
        (GridLoad, {"timestamp": "9999-12-31T23:59:59-05:00"}),
    ],
)
def test_a_value_out_of_its_bounds_is_refused(model: type[Reading], changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(ValidationError, match=name):
        model.model_validate_json(body(model, **changes))


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (SolarStatus, {"generation_kw": 0.0}),
        (SolarStatus, {"generation_kw": 0}),
        (BatteryStatus, {"soc_percent": 0.0}),
        (BatteryStatus, {"soc_percent": 100.0}),
        (BatteryStatus, {"active_power_kw": -50.0}),
        (GridLoad, {"load_percent": 130.0}),
        (GridLoad, {"load_percent": 0.0}),
        (GridLoad, {"anything": {"else": [1]}}),
    ],
)
def test_a_value_at_its_bound_is_accepted(model: type[Reading], changes: dict[str, Any]) -> None:
    assert model.model_validate_json(body(model, **changes)).site_id == "greensboro"


@pytest.mark.parametrize(
    ("model", "name"),
    [(model, name) for model, fields in SAID.items() for name in ("site_id", "timestamp", "source", *fields)],
)
def test_what_is_required_is_required(model: type[Reading], name: str) -> None:
    said = json.loads(body(model))
    del said[name]

    with pytest.raises(ValidationError, match=name):
        model.model_validate_json(json.dumps(said))


def test_a_timestamp_of_any_offset_is_utc_with_z() -> None:
    reading = GridLoad.model_validate_json(body(GridLoad, timestamp="2026-06-21T14:00:00+02:00"))

    assert reading.timestamp == NOON
    assert reading.timestamp.tzinfo is UTC
    assert '"timestamp":"2026-06-21T12:00:00Z"' in reading.model_dump_json()


def test_what_a_grid_reading_does_not_say_has_its_default() -> None:
    reading = GridLoad.model_validate_json(body(GridLoad))

    assert (reading.export_kw, reading.includes_charging) == (0.0, True)


def test_a_reading_can_not_be_changed() -> None:
    reading = GridLoad.model_validate_json(body(GridLoad))

    with pytest.raises(ValidationError, match="frozen"):
        reading.load_percent = 0.0  # pyright: ignore[reportAttributeAccessIssue]


@given(
    load_kw=st.floats(min_value=0, allow_infinity=False),
    limit_kw=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    at=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_what_is_written_is_read_back_the_same(load_kw: float, limit_kw: float, at: datetime) -> None:
    reading = GridLoad(
        site_id="site", timestamp=at, source="test", load_percent=load_kw, load_kw=load_kw, limit_kw=limit_kw
    )

    assert GridLoad.model_validate_json(reading.model_dump_json()) == reading


def test_utc_text_ends_with_z_whatever_the_offset() -> None:
    berlin = timezone(timedelta(hours=2))

    assert utc_text(datetime(2026, 6, 21, 14, tzinfo=berlin)) == "2026-06-21T12:00:00Z"
    assert utc_text(NOON.replace(microsecond=500_000)) == "2026-06-21T12:00:00.500000Z"
