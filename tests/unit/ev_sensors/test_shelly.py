"""Shelly meters that tell of each phase apart, of the first generation and of those after it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from ev_sensors.measurement import IgnoredMessage, Measurement, Reason, Refusal
from ev_sensors.shapes.meters import shelly_gen1_shape, shelly_shape

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)


def _notify(parts: Mapping[str, object], at_s: float = 0.0) -> bytes:
    params = {"ts": NOON.timestamp() + at_s, **parts}
    return json.dumps({"src": "shelly-1", "method": "NotifyStatus", "params": params}).encode()


def test_channels_that_are_told_together_are_summed_in_the_order_of_the_phases() -> None:
    shape = shelly_shape("grid", "x", factor=1.0)
    powers = {"em1:0": {"id": 0, "act_power": 2240.6}, "em1:1": {"id": 1, "act_power": -420.1}}

    said = shape.parse(_notify(powers), NOON)

    assert isinstance(said, Measurement)
    assert said.timestamp == NOON
    assert said.values == pytest.approx(
        {"load_kw": 1.8205, "export_kw": 0.0, "power_l1_kw": 2.2406, "power_l2_kw": -0.4201}
    )


def test_channels_that_are_told_one_by_one_are_awaited_and_none_is_left_out() -> None:
    shape = shelly_shape("grid", "x", factor=1.0)
    said = [
        shape.parse(_notify({f"em1:{channel}": {"act_power": 1000.0}}, at_s), NOON)
        for at_s, channel in enumerate((0, 1, 2, 0, 1, 2))
    ]

    assert said[:3] == [IgnoredMessage("more channels may follow")] * 3
    assert isinstance(said[3], Measurement)
    assert (said[3].values["load_kw"], said[3].timestamp) == (3.0, NOON + timedelta(seconds=1))
    assert said[4] == IgnoredMessage("channel 0, 2 still awaited")


def test_a_setting_says_which_channels_count_and_on_which_phase() -> None:
    shape = shelly_shape("grid", "x", factor=1.0, channels=[2, 0])
    parts = {f"em1:{n}": {"act_power": 100.0 * (n + 1), "current": float(n), "voltage": 230.0} for n in range(3)}

    said = shape.parse(_notify(parts), NOON)

    assert isinstance(said, Measurement)
    assert said.values["load_kw"] == pytest.approx(0.4)
    assert (said.values["power_l1_kw"], said.values["magnitude_l1_a"], said.values["power_l2_kw"]) == (0.3, 2.0, 0.1)
    assert shape.parse(_notify({"em1:1": {"act_power": 1.0}}), NOON) == IgnoredMessage("no act_power of channel 2, 0")


def test_a_total_that_is_null_is_the_sum_of_the_phases() -> None:
    phases = {"a_act_power": 1000.0, "b_act_power": 900.0, "c_act_power": 800.0, "total_act_power": None}

    said = shelly_shape("grid", "x", factor=1.0).parse(_notify({"em:0": {"id": 0, **phases}}), NOON)

    assert isinstance(said, Measurement)
    assert said.values["load_kw"] == pytest.approx(2.7)


def test_a_meter_of_the_first_generation_tells_plain_numbers_on_a_topic_for_each_channel() -> None:
    shape = shelly_gen1_shape("grid", "shellies/s", factor=1.0, channels=[0, 1, 2])
    moments = [NOON + timedelta(seconds=second) for second in range(3)]

    said = [
        shape.read(f"shellies/s/emeter/{channel}/power", str(500.5 * (channel + 1)).encode(), moment)
        for channel, moment in enumerate(moments)
    ]

    assert shape.topics[-1] == "shellies/s/online"
    assert said[0] == IgnoredMessage("channel 1, 2 still awaited")
    assert isinstance(said[2], Measurement)
    assert (said[2].timestamp, said[2].values["load_kw"]) == (NOON, pytest.approx(3.003))
    assert said[2].values["power_l2_kw"] == pytest.approx(1.001)


@pytest.mark.parametrize("payload", [b"", b"on", b"nan", b"\xff", b"{}"])
def test_what_is_no_number_of_watts_is_refused(payload: bytes) -> None:
    said = shelly_gen1_shape("solar", "x", factor=1.0, channels=[0]).read("x/emeter/0/power", payload, NOON)

    assert isinstance(said, Refusal)
    assert said.reason == Reason.SCHEMA
