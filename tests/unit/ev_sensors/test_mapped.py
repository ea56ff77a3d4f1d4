"""Any device by settings: what is read where, and which settings are not clear enough to start with."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ev_sensors.measurement import IgnoredMessage, Measurement, Reason, Refusal
from ev_sensors.settings import MqttDeviceSettings
from ev_sensors.shapes import Role, Shape, ValueCollector
from ev_sensors.source_factory import shape_of
from ev_service.errors import ConfigurationError
from ev_service.settings import SiteSettings

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
TASMOTA = "power=tele/tas-1/SENSOR#/SML/curr_w W"


def _shape(values: str, role: Role = "grid", *, phases: int = 3, **more: object) -> Shape:
    settings = MqttDeviceSettings.model_validate({"device_id": "d", "shape": "json", "values": values, **more})
    return shape_of(role, settings, SiteSettings(phases=phases), "GRID_MQTT_")


def _read(shape: Shape, message: object, topic: str | None = None) -> Measurement | Refusal | IgnoredMessage:
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    return shape.read(topic or shape.telemetry, payload, NOON)


def _values(shape: Shape, message: object, topic: str | None = None) -> dict[str, float]:
    said = _read(shape, message, topic)
    assert isinstance(said, Measurement), said
    return dict(said.values)


def test_a_reading_head_of_tasmota_is_read_at_its_own_time() -> None:
    shape = _shape(f"{TASMOTA}; time=#/Time iso; status=tele/tas-1/LWT Online/Offline")

    said = _read(shape, {"Time": "2026-06-21T12:00:01", "SML": {"curr_w": -3, "Total_in": 12345.6}})

    assert said == Measurement(NOON + timedelta(seconds=1), {"load_kw": 0.0, "export_kw": 0.003})
    assert shape.topics == ("tele/tas-1/SENSOR", "tele/tas-1/LWT")
    assert (shape.parse_status(b"Online"), shape.parse_status(b"Offline"), shape.parse_status(b"x")) == (
        "online",
        "offline",
        None,
    )


@pytest.mark.parametrize(
    ("values", "role", "message", "told"),
    [
        ("power=m W", "grid", b"230.5", {"load_kw": 0.2305, "export_kw": 0.0}),
        ("power=m W", "grid", b" -1.5e3\n", {"load_kw": 0.0, "export_kw": 1.5}),
        ("power=m -kW", "grid", b"-4", {"load_kw": 4.0, "export_kw": 0.0}),
        ("power=m#/state kW", "solar", {"state": "4.25"}, {"generation_kw": 4.25}),
        ("soc=m#/soc 0..1", "battery", {"soc": 0.83}, {"soc_percent": 83.0}),
        ("soc=m#/soc %; power=m#/p -W", "battery", {"soc": 83, "p": 500}, {"soc_percent": 83, "active_power_kw": -0.5}),
        ("load=m#/in W; export=m#/out W", "grid", {"in": 0, "out": 700}, {"load_kw": 0.0, "export_kw": 0.7}),
        ("power=m#/a~1b/m~0n/1 W", "grid", {"a/b": {"m~n": [0, 40]}}, {"load_kw": 0.04, "export_kw": 0.0}),
        ("power=m#/Power in W", "grid", {"Power in": 40}, {"load_kw": 0.04, "export_kw": 0.0}),
        ("power=/m#/ W", "grid", {"": 40}, {"load_kw": 0.04, "export_kw": 0.0}),
    ],
)
def test_a_value_is_found_by_pointer_and_turned_into_our_unit_and_sign(
    values: str, role: Role, message: object, told: dict[str, float]
) -> None:
    assert _values(_shape(values, role), message) == pytest.approx(told)


def test_values_on_topics_of_their_own_make_up_one_reading_as_old_as_the_oldest() -> None:
    shape = _shape("power=ha/power/state W;" + ";".join(f"current_l{n}=ha/l{n}/state mA" for n in (1, 2, 3)))
    seconds = iter(range(9))

    def tell(topic: str, number: float) -> Measurement | Refusal | IgnoredMessage:
        return shape.read(f"ha/{topic}/state", str(number).encode(), NOON + timedelta(seconds=next(seconds)))

    assert tell("power", 3000) == IgnoredMessage("still awaited: current_l1, current_l2, current_l3")
    parts = [tell("l1", 5000), tell("power", 3450), tell("l2", 5000)]
    assert [type(part) for part in parts] == [IgnoredMessage] * 3
    said = tell("l3", 6000)

    currents = {"magnitude_l1_a": 5.0, "magnitude_l2_a": 5.0, "magnitude_l3_a": 6.0}
    assert said == Measurement(NOON + timedelta(seconds=1), {"load_kw": 3.45, "export_kw": 0.0, **currents})
    assert isinstance(tell("l3", 5100), IgnoredMessage)  # the next round begins


def test_the_power_of_each_phase_makes_up_the_whole() -> None:
    shape = _shape("; ".join(f"power_l{n}=m#/p{n} W; voltage_l{n}=m#/u{n} V" for n in (1, 2, 3)), factor=-1)
    values = _values(shape, {"p1": -1000, "p2": -2000, "p3": 500, "u1": 230, "u2": 231, "u3": 229})

    assert values["load_kw"] == 2.5
    assert [values[f"power_l{n}_kw"] for n in (1, 2, 3)] == [1.0, 2.0, -0.5]
    assert values["voltage_l2_v"] == 231


@pytest.mark.parametrize(("unit", "time"), [("s", NOON.timestamp()), ("ms", NOON.timestamp() * 1000)])
def test_a_time_may_count_seconds_or_milliseconds_and_the_other_is_refused(unit: str, time: float) -> None:
    shape = _shape(f"power=m#/p W; time=#/t {unit}")
    other = _shape(f"power=m#/p W; time=#/t {'ms' if unit == 's' else 's'}")

    assert _read(shape, {"p": 1, "t": time}) == Measurement(NOON, {"load_kw": 0.001, "export_kw": 0.0})
    refused = _read(other, {"p": 1, "t": time})
    assert isinstance(refused, Refusal)
    assert "is it in s or in ms?" in refused.detail


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        ({"p": "unavailable"}, "/p: not a number"),
        ({"p": True}, "/p: not a number"),
        ({"p": [1]}, "/p: not a number"),
        ({"p": "1,5"}, "/p: not a number"),
        ({"p": float("nan")}, "/p: not a finite number"),
        (b'{"p": 1e999}', "/p: not a finite number"),
        (b'{"p": 1', "message: not JSON"),
        (b"\xff", "message: not UTF-8 text"),
        (b"[" * 9000, "message: not JSON"),
    ],
)
def test_what_is_no_number_is_refused_without_its_value(message: object, detail: str) -> None:
    assert _read(_shape("power=m#/p W"), message) == Refusal(Reason.SCHEMA, detail)


@pytest.mark.parametrize("message", [{}, {"p": None}, {"q": 1}, [], 5, "text"])
def test_a_message_about_something_else_is_ignored_and_says_where_nothing_was(message: object) -> None:
    assert _read(_shape("power=m#/p W"), message) == IgnoredMessage("nothing at /p")


@pytest.mark.parametrize(
    ("values", "role", "told"),
    [
        ("power", "grid", "must be NAME=TOPIC#/POINTER UNIT, such as power=tele/meter/SENSOR#/SML/curr_w W"),
        ("generation=m W", "solar", "the names are power, energy"),
        ("power=m", "grid", "power=m names no topic"),
        ("power=m hp", "grid", "must end with a unit: W, kW, MW, with - before it to turn the sign"),
        ("power=m/+ W", "grid", "without + and #"),
        ("power=m#p W", "grid", "#p must begin with /"),
        ("power=m#/~2 W", "grid", "RFC 6901"),
        ("power=m W; power=n W", "grid", "power is there twice"),
        ("power=m W; load=n W", "grid", "keep one"),
        ("export=m W", "grid", "the power is missing; write power=TOPIC#/POINTER W"),
        ("current_l1=m A", "grid", "the power is missing"),
        ("power_l1=m W", "grid", "power_l1 to power_l3, or power of all"),
        ("power=m W", "battery", "write soc=TOPIC#/POINTER %"),
        ("soc=m kWh", "battery", "must end with a unit: %, 0..1"),
        ("power=m W; time=m#/t iso", "grid", "such as time=#/Time iso"),
        ("power=m W; time=#/t", "grid", "such as time=#/Time iso"),
        ("power=m W; status=m on/off", "grid", "status needs a topic of its own"),
        ("power=m W; status=n Online", "grid", "such as status=tele/meter/LWT Online/Offline"),
    ],
)
def test_settings_that_are_not_clear_are_refused_with_what_to_write(values: str, role: Role, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _shape(values, role)

    assert refused.value.message.startswith("GRID_MQTT_VALUES: ")
    assert told in refused.value.message


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"shape": "json"}, "GRID_MQTT_VALUES must say where each value stands"),
        ({"shape": "tasmota", "values": TASMOTA}, "GRID_MQTT_VALUES needs GRID_MQTT_SHAPE json, and it is tasmota"),
        ({"shape": "json", "values": TASMOTA, "topic": "x"}, "GRID_MQTT_TOPIC has no use for shape json"),
        ({"shape": "own", "channels": "0"}, "GRID_MQTT_CHANNELS is for the shapes shelly and shelly_gen1 alone"),
        ({"shape": "shelly", "channels": "0,0"}, "GRID_MQTT_CHANNELS names a channel twice"),
    ],
)
def test_a_setting_without_use_is_refused(settings: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        shape_of("grid", MqttDeviceSettings.model_validate(settings), SiteSettings(), "GRID_MQTT_")


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_no_message_breaks_the_shape(message: object) -> None:
    for shape in (_shape("power=m#/p/0 W; time=#/t iso"), _shape("power=m W")):
        assert isinstance(_read(shape, message), Measurement | Refusal | IgnoredMessage)
        assert shape.parse_status(b"\xff") is None


def test_a_round_ends_when_each_was_told_and_the_next_needs_all_again() -> None:
    rounds = ValueCollector(["a", "b"])

    assert rounds.add({"a": 1.0}, NOON) is None
    assert rounds.add({"b": 2.0}, NOON + timedelta(seconds=1)) == ({"a": 1.0, "b": 2.0}, NOON)
    assert rounds.add({"b": 3.0}, NOON) is None
    assert rounds.list_missing() == ["a"]
