"""The current of each phase of the connection, from whatever a meter says of its phases."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ev_sensors.checks import Past, validate
from ev_sensors.connection_meter import connection_meter
from ev_sensors.measurement import IgnoredMessage, Measurement, Reason, Refusal
from ev_sensors.settings import MqttDeviceSettings
from ev_sensors.source_factory import shape_of
from ev_sensors.sunspec_roles import SunSpecPoints, to_measurement
from ev_service.settings import SiteSettings

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
TIME = "2026-06-21T16:00:00Z"
OWN: dict[str, Any] = {"timestamp": TIME, "sequence": 7, "load_kw": 61.0}


def _shelly(**em: float | None) -> dict[str, Any]:
    return {"method": "NotifyStatus", "params": {"ts": NOON.timestamp(), "em:0": {"id": 0, **em}}}


def _abc(name: str, *values: float | None) -> dict[str, float | None]:
    return {f"{phase}_{name}": value for phase, value in zip("abc", values, strict=True)}


def _sunspec(**points: float) -> dict[str, Any]:
    return {"timestamp": TIME, "models": {"203": {"W_SF": 0, "A_SF": 0, "V_SF": 0, **points}}}


def _ABC(name: str, *values: float) -> dict[str, float]:
    return {f"{name}{phase}": value for phase, value in zip("ABC", values, strict=False)}


def _tasmota(**energy: object) -> dict[str, Any]:
    return {"Time": TIME, "ENERGY": energy}


def _validate_message(
    shape: str, message: object, *, factor: float = 1.0, **site: Any
) -> Measurement | Refusal | IgnoredMessage:
    """A message as the connection's meter: what it says, or why it does not count."""
    settings = SiteSettings.model_validate(site)
    device = connection_meter(settings)
    spoken = shape_of("grid", MqttDeviceSettings.model_validate({"shape": shape, "factor": factor}), settings)
    said = spoken.parse(json.dumps(message).encode(), NOON)
    if not isinstance(said, Measurement):
        return said
    return validate(said, Past(), NOON, device.rules)[1] or said


def _current_a(shape: str, message: object, *, factor: float = 1.0, **site: Any) -> tuple[float, ...] | None:
    said = _validate_message(shape, message, factor=factor, **site)
    assert isinstance(said, Measurement), said
    return connection_meter(SiteSettings.model_validate(site)).reading(said, "mqtt").current_a


@pytest.mark.parametrize(
    ("shape", "message", "current_a"),
    [
        ("own", OWN | {"current_a": [106, 88.4, 70.7]}, (106.0, 88.4, 70.7)),
        ("own", OWN | {"load_kw": 20.7, "current_a": [100, 50, -60]}, (100.0, 50.0, -60.0)),
        ("own", OWN, None),
        # A three-phase Shelly gives currents without a sign, and powers that have one.
        (
            "shelly",
            _shelly(
                total_act_power=5750.0, **_abc("current", 30.0, 10.0, 15.0), **_abc("act_power", 6900, 2300, -3450)
            ),
            (30.0, 10.0, -15.0),
        ),
        ("shelly", _shelly(total_act_power=5750.0, **_abc("act_power", 6900, 2300, -3450)), (30.0, 10.0, -15.0)),
        (
            "shelly",
            _shelly(total_act_power=4800.0, **_abc("act_power", 2400, 1200, 1200), **_abc("voltage", 240, 240, 0)),
            (10.0, 5.0, 1200 / 230),
        ),
        ("shelly", _shelly(total_act_power=None, **_abc("act_power", 2300, 1150, 0)), (10.0, 5.0, 0.0)),
        ("shelly", _shelly(total_act_power=3450.0, **_abc("act_power", 2300, 1150, None)), None),
        ("shelly", _shelly(total_act_power=3450.0), None),
        # Without powers of the phases: drawn while the site draws, not known while it exports or where that cannot be.
        ("shelly", _shelly(total_act_power=5750.0, **_abc("current", 10.0, 10.0, 5.0)), (10.0, 10.0, 5.0)),
        ("shelly", _shelly(total_act_power=-5750.0, **_abc("current", 10.0, 10.0, 5.0)), None),
        ("shelly", _shelly(total_act_power=4600.0, **_abc("current", 60.0, 40.0, 40.0)), None),
        ("sunspec", _sunspec(W=5750, **_ABC("Aph", 30, 10, 15), **_ABC("Wph", 6900, 2300, -3450)), (30, 10, -15)),
        ("sunspec", _sunspec(W=5750, A_SF=-1, **_ABC("Aph", 300, 100, -150)), (30, 10, -15)),
        ("sunspec", _sunspec(W=5750, **_ABC("Wph", 6900, 2300, -3450)), (30, 10, -15)),
        ("sunspec", _sunspec(W=4800, **_ABC("Wph", 2400, 1200, 1200), **_ABC("PhVph", 240, 240, 240)), (10, 5, 5)),
        ("sunspec", _sunspec(W=5750, **_ABC("Aph", 25)), None),
        ("sunspec", _sunspec(W=5750, A_SF=-32768, **_ABC("Aph", 10, 10, 5)), None),
        (
            "tasmota",
            _tasmota(Power=[6900, 2300, -3450], Current=[30.1, 10.1, 15.1], Voltage=[229, 230, 231]),
            (30.1, 10.1, -15.1),
        ),
        ("tasmota", _tasmota(Power=5750, Current=25.0, Voltage=230), None),
    ],
)
def test_a_phase_carries_what_its_meter_says(
    shape: str, message: dict[str, Any], current_a: tuple[float, ...] | None
) -> None:
    assert _current_a(shape, message) == (None if current_a is None else pytest.approx(current_a))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            "shelly",
            _shelly(
                total_act_power=-5750.0, **_abc("current", 30.0, 10.0, 15.0), **_abc("act_power", -6900, -2300, 3450)
            ),
        ),
        ("sunspec", _sunspec(W=-5750, **_ABC("Aph", 30, 10, 15), **_ABC("Wph", -6900, -2300, 3450))),
        ("sunspec", _sunspec(W=-5750, **_ABC("Aph", -30, -10, 15))),
        ("tasmota", _tasmota(Power=[-6900, -2300, 3450], Current=[30.0, 10.0, 15.0])),
    ],
)
def test_a_factor_turns_the_phases_too(shape: str, message: dict[str, Any]) -> None:
    assert _current_a(shape, message, factor=-1.0) == pytest.approx((30.0, 10.0, -15.0))


def test_a_meter_behind_transformers_is_multiplied_in_all() -> None:
    message = _shelly(total_act_power=575.0, **_abc("current", 3, 1, 1.5), **_abc("act_power", 690, 230, -345))

    assert _current_a("shelly", message, factor=10.0) == pytest.approx((30.0, 10.0, -15.0))


@pytest.mark.parametrize(
    ("shape", "message", "reason"),
    [
        ("own", OWN | {"current_a": [0, 0, 0]}, Reason.IMPLAUSIBLE),
        ("own", OWN | {"current_a": [1e308, 0, 0]}, Reason.RANGE),
        ("own", OWN | {"current_a": list[float]()}, Reason.SCHEMA),
        ("own", OWN | {"current_a": [1, 1, 1, 1]}, Reason.SCHEMA),
        ("own", OWN | {"current_a": ["1", 1, 1]}, Reason.SCHEMA),
        ("own", OWN | {"current_a": 88.0}, Reason.SCHEMA),
        ("own", OWN | {"current_ka": [0.1, 0.1, 0.1]}, Reason.UNIT),
        ("shelly", _shelly(total_act_power=61e3, **_abc("act_power", 2300, 1150, 0)), Reason.IMPLAUSIBLE),
        ("shelly", _shelly(total_act_power=6100, **_abc("act_power", 1e9, -1e9, 0)), Reason.RANGE),
        ("sunspec", _sunspec(W=6100, **_ABC("Aph", 9), **_ABC("Wph", 1, 1, 1)), Reason.IMPLAUSIBLE),
    ],
)
def test_phases_that_cannot_be_are_refused_with_their_message(
    shape: str, message: dict[str, Any], reason: Reason
) -> None:
    refusal = _validate_message(shape, message)

    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason


def test_a_meter_of_three_phases_counts_at_a_site_of_one_with_its_first() -> None:
    message = _shelly(total_act_power=2300.0, **_abc("current", 10, 0, 0), **_abc("act_power", 2300, 0, 0))

    assert _current_a("shelly", message, phases=1) == (10.0,)


@given(
    power_w=st.lists(st.floats(-20_000, 20_000), min_size=3, max_size=3),
    factors=st.lists(st.floats(0.5, 1.0), min_size=3, max_size=3),
    volts=st.lists(st.floats(210, 250), min_size=3, max_size=3),
)
def test_what_an_honest_meter_says_counts_and_no_phase_changes_its_direction(
    power_w: list[float], factors: list[float], volts: list[float]
) -> None:
    """Any power factor from 0.5 on and any voltage within 9 % of the nominal one."""
    currents = [abs(w) / (v * factor) for w, v, factor in zip(power_w, volts, factors, strict=True)]
    message = _shelly(total_act_power=sum(power_w), **_abc("current", *currents), **_abc("act_power", *power_w))

    told = _current_a("shelly", message)

    assert told is not None
    for current, magnitude, power in zip(told, currents, power_w, strict=True):
        assert current == pytest.approx(magnitude if power >= 0 else -magnitude)


def test_over_modbus_the_phases_count_alike() -> None:
    points = {"W": 5750.0, "AphA": 30.0, "AphB": 10.0, "AphC": 15.0, "WphA": 6900.0, "WphB": 2300.0, "WphC": -3450.0}
    told = to_measurement("grid", SunSpecPoints({203: points}, NOON, 1))
    assert isinstance(told, Measurement)

    assert connection_meter(SiteSettings()).reading(told, "modbus").current_a == (30.0, 10.0, -15.0)
