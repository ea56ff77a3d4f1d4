"""What each shape's messages mean in our words, and what is said of those that mean nothing."""

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ev_sensors.measurement import IgnoredMessage, Measurement, Reason, Refusal
from ev_sensors.settings import MqttDeviceSettings
from ev_sensors.shapes import Role, Shape
from ev_sensors.shapes.meters import shelly_shape, tasmota_shape
from ev_sensors.shapes.native import own_shape
from ev_sensors.shapes.sunspec import scale, sunspec_shape
from ev_sensors.source_factory import shape_of
from ev_service.errors import ConfigurationError
from ev_service.settings import SiteSettings

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
TIME = "2026-06-21T16:00:00Z"
NEW_YORK = ZoneInfo("America/New_York")


def _parse(shape: Shape, message: object, now: datetime = NOON) -> Measurement | Refusal | IgnoredMessage:
    return shape.parse(message if isinstance(message, bytes) else json.dumps(message).encode(), now)


def _values(shape: Shape, message: object) -> dict[str, float]:
    said = _parse(shape, message)
    assert isinstance(said, Measurement), said
    return dict(said.values)


def _parse_refusal(shape: Shape, message: object) -> Refusal:
    said = _parse(shape, message)
    assert isinstance(said, Refusal), said
    return said


def test_our_own_shape_names_values_as_the_services_do() -> None:
    said = _parse(own_shape("solar", "x"), {"timestamp": TIME, "sequence": 7, "generation_kw": 41, "firmware": "1.2"})

    assert said == Measurement(NOON, {"generation_kw": 41.0}, 7)


@pytest.mark.parametrize(
    ("role", "fields", "wrong"),
    [
        ("solar", {"generation_w": 41_000}, "generation_w"),
        ("solar", {"generation_kw": 41, "capacity_w": 5}, "capacity_w"),
        ("battery", {"soc": 0.83}, "soc"),
        ("battery", {"soc_fraction": 0.83}, "soc_fraction"),
        ("grid", {"load_mw": 0.061, "load_kw": 61.0}, "load_mw"),
    ],
)
def test_a_quantity_in_another_unit_is_refused_for_its_unit(role: Role, fields: dict[str, float], wrong: str) -> None:
    refusal = _parse_refusal(own_shape(role, "x"), {"timestamp": TIME, "sequence": 7, **fields})

    assert (refusal.reason, wrong in refusal.detail) == (Reason.UNIT, True)


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": None},
        {"timestamp": "2026-06-21T16:00:00"},
        {"timestamp": 1782057600},
        {"timestamp": "9999-12-31T23:59:59-14:00"},
        {"sequence": -1},
        {"sequence": 1.5},
        {"sequence": 2**63},
        {"generation_kw": None},
        {"generation_kw": "41"},
        {"generation_kw": True},
        {"generation_kw": float("nan")},
        {"generation_kw": [41]},
    ],
    ids=str,
)
def test_what_breaks_the_schema_is_refused_by_field_and_without_its_value(change: dict[str, Any]) -> None:
    message = {"timestamp": TIME, "sequence": 7, "generation_kw": 41.0} | change

    refusal = _parse_refusal(own_shape("solar", "x"), message)

    assert refusal.reason == Reason.SCHEMA
    assert next(iter(change)) in refusal.detail


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_break_a_shape(payload: bytes) -> None:
    shapes = (
        own_shape("grid", "x"),
        tasmota_shape("grid", "x", factor=1.0, zone=NEW_YORK),
        shelly_shape("grid", "x", factor=1.0),
        sunspec_shape("solar", "x", factor=1.0),
    )
    for shape in shapes:
        assert isinstance(shape.parse(payload, NOON), Refusal)
        assert shape.parse_status(payload) in (None, "online", "offline")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Time", "ENERGY", "Power"]), inner)
        ),
        max_leaves=6,
    )
)
def test_no_json_breaks_a_shape(message: object) -> None:
    assert isinstance(_parse(tasmota_shape("solar", "x", factor=1.0, zone=NEW_YORK), message), Measurement | Refusal)


def test_three_phases_of_a_tasmota_meter_add_up_and_its_counter_is_kept() -> None:
    shape = tasmota_shape("grid", "tele/m", factor=1.0, zone=NEW_YORK)

    said = _parse(shape, {"Time": "2026-06-21T12:00:00", "ENERGY": {"Power": [1000, 2000, 500], "Total": [1.5, 2, 3]}})

    phases = {"power_l1_kw": 1.0, "power_l2_kw": 2.0, "power_l3_kw": 0.5}
    assert said == Measurement(NOON, {"load_kw": 3.5, "export_kw": 0.0, **phases}, energy_kwh=6.5)
    assert (shape.telemetry, shape.status, shape.parse_status(b"Offline")) == ("tele/m/SENSOR", "tele/m/LWT", "offline")


@pytest.mark.parametrize(("now_hour", "utc_hour"), [(5, 5), (6, 6)])
def test_the_hour_that_comes_twice_is_the_one_nearer_to_now(now_hour: int, utc_hour: int) -> None:
    shape = tasmota_shape("grid", "x", factor=1.0, zone=NEW_YORK)

    said = _parse(
        shape, {"Time": "2026-11-01T01:30:00", "ENERGY": {"Power": 1}}, datetime(2026, 11, 1, now_hour, 30, tzinfo=UTC)
    )

    assert isinstance(said, Measurement)
    assert said.timestamp == datetime(2026, 11, 1, utc_hour, 30, tzinfo=UTC)


def test_a_meter_wired_the_other_way_round_is_turned_by_its_factor() -> None:
    message = {"method": "NotifyStatus", "params": {"ts": NOON.timestamp(), "em:0": {"total_act_power": -41_000.0}}}

    assert _values(shelly_shape("solar", "x", factor=-1.0), message) == {"generation_kw": 41.0}
    assert _values(shelly_shape("grid", "x", factor=1.0), message) == {"load_kw": 0.0, "export_kw": 41.0}


@pytest.mark.parametrize(
    "part", [{"wifi": {}}, {"em:0": {}}, {"emdata:0": {"total_act": 5.0}}, {"input:0": {"state": 1}}]
)
def test_what_a_shelly_tells_of_other_parts_is_ignored(part: dict[str, object]) -> None:
    message = {"method": "NotifyStatus", "params": {"ts": NOON.timestamp(), **part}}

    assert _parse(shelly_shape("grid", "x", factor=1.0), message) == IgnoredMessage(f"no power in {next(iter(part))}")


@pytest.mark.parametrize("shape", ["tasmota", "shelly"])
def test_a_meter_cannot_stand_for_a_battery(shape: str) -> None:
    with pytest.raises(ConfigurationError, match="how full a battery is"):
        shape_of("battery", MqttDeviceSettings.model_validate({"shape": shape}), SiteSettings())


def test_scale_factors_and_points_that_are_not_implemented_are_understood() -> None:
    assert scale({"W": 4125, "W_SF": 1}, "W", 103) == 41_250.0
    assert scale({"W": 4125.5}, "W", 113) == 4125.5  # floating point has no scale factor
    assert scale({"SoC": 835, "Pct_SF": -1}, "SoC", 713) == 83.5
    assert scale({}, "W", 103) is None
    with pytest.raises(ValueError, match="no scale factor"):
        scale({"W": 1, "W_SF": 99}, "W", 103)


@pytest.mark.parametrize(
    ("name", "model", "value"),
    [
        ("W", 103, -0x8000),
        ("W", 103, 0x8000),
        ("SoC", 713, 0xFFFF),
        ("SoC", 713, -1),
        ("WH", 103, 0),
        ("AphA", 203, 0x8000),
    ],
)
def test_not_implemented_is_known_by_the_type_of_the_point_read_with_its_sign_or_without(
    name: str, model: int, value: int
) -> None:
    scales = dict.fromkeys(("W_SF", "WH_SF", "A_SF", "Pct_SF"), 0)

    assert scale({name: value, **scales}, name, model) is None
    # What is no value of one type is a value of another.
    assert scale({"SoC": 0x8000, "Pct_SF": -3}, "SoC", 713) == pytest.approx(32.768)


@pytest.mark.parametrize("factors", [{}, {"W_SF": -0x8000}, {"W_SF": 0x8000}])
def test_a_scale_factor_that_is_missing_refuses_the_value(factors: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="W_SF: the scale factor of W is missing, which model 103 demands"):
        scale({"W": 4125, **factors}, "W", 103)
    with pytest.raises(ValueError, match="Pct_SF: the scale factor of SoC is missing"):
        scale({"SoC": 83}, "SoC", 713)


def test_a_power_that_was_read_without_its_sign_is_refused() -> None:
    with pytest.raises(ValueError, match="W 65036 is more than an int16 holds: it was read without its sign"):
        scale({"W": 65_036, "W_SF": 0}, "W", 203)


def _sunspec(role: Role, **models: dict[str, object]) -> Measurement | Refusal | IgnoredMessage:
    numbered = {name.removeprefix("m"): points for name, points in models.items()}
    return _parse(sunspec_shape(role, "x", factor=1.0), {"timestamp": TIME, "models": numbered})


def _sunspec_values(role: Role, **models: dict[str, object]) -> dict[str, float]:
    judged = _sunspec(role, **models)
    assert isinstance(judged, Measurement), judged
    return dict(judged.values)


def test_a_sunspec_battery_that_gives_power_discharges_in_our_words() -> None:
    told = {"soc_percent": 83.5, "active_power_kw": -4.0}

    assert _sunspec_values("battery", m713={"SoC": 835, "SoC_SF": -1}, m701={"W": 400, "W_SF": 1}) == told
    assert _sunspec_values("battery", m802={"SoC": 835, "SoC_SF": -1, "W": 400, "W_SF": 1}) == told


def test_a_sunspec_meter_and_an_inverters_counter_are_read() -> None:
    energy = _sunspec("solar", m103={"W": 0, "W_SF": 0, "WH": 1500, "WH_SF": 0})

    assert _sunspec_values("grid", m203={"W": -500, "W_SF": 0}) == {"load_kw": 0.0, "export_kw": 0.5}
    assert isinstance(energy, Measurement)
    assert energy.energy_kwh == 1.5


@pytest.mark.parametrize(
    "state", [{"m103": {"St": 1}}, {"m103": {"St": 2}}, {"m113": {"St": 8}}, {"m701": {"InvSt": 1}}]
)
@pytest.mark.parametrize(
    "power", [{}, {"W": None}, {"W": -0x8000}, {"W": 0x8000, "W_SF": 0x8000}, {"W": -0x8000, "W_SF": 0}]
)
def test_an_inverter_that_sleeps_and_tells_no_power_gives_none(
    state: dict[str, dict[str, object]], power: dict[str, object]
) -> None:
    ((model, points),) = state.items()
    absent = {} if model == "m113" else power

    assert _sunspec_values("solar", **{model: points | absent}) == {"generation_kw": 0.0}


def test_an_inverter_that_sleeps_gives_no_power_and_one_that_is_awake_tells_it() -> None:
    asleep, awake = _sunspec("solar", m103={"St": 2, "W": 410, "W_SF": 1}), _sunspec("solar", m103={"St": 4})

    assert isinstance(asleep, Refusal)
    assert (asleep.reason, asleep.detail) == (Reason.IMPLAUSIBLE, "the inverter is sleeping and gives 4.1 kW")
    assert isinstance(awake, Refusal)
    assert awake.detail == "W is not implemented by the device"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"models": {"103": {"W": 1}}}, Reason.SCHEMA),
        ({"timestamp": TIME, "models": {"103": {"W": -0x8000, "W_SF": 0}}}, Reason.SCHEMA),
        ({"timestamp": TIME, "models": {"103": {"W": 0x8000, "W_SF": 0}}}, Reason.SCHEMA),
        ({"timestamp": TIME, "models": {"103": {"W": 4125}}}, Reason.SCHEMA),
        ({"timestamp": TIME, "models": {"103": {"W": 1, "W_SF": 99}}}, Reason.SCHEMA),
        ({"timestamp": TIME, "models": {"1": {"Mn": "maker"}}}, Reason.SCHEMA),
        ({"timestamp": TIME, "models": {"103": {"W": 41}}, "units": {"W": "kW"}}, Reason.UNIT),
    ],
)
def test_what_an_inverter_does_not_implement_or_says_in_other_units_is_refused(
    message: dict[str, object], reason: Reason
) -> None:
    assert _parse_refusal(sunspec_shape("solar", "x", factor=1.0), message).reason == reason


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (b'{"status": "online", "timestamp": "2026-06-21T16:00:00Z"}', "online"),
        (b'{"status": "offline", "timestamp": "2026-06-21T16:00:00Z"}', "offline"),
        (b'{"status": "asleep", "timestamp": "2026-06-21T16:00:00Z"}', None),
        (b"online", None),
    ],
)
def test_birth_and_will_are_read(payload: bytes, status: str | None) -> None:
    assert own_shape("solar", "x").parse_status(payload) == status
