from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from ev_service.settings import SiteSettings
from site_model.parameters import Building, Panels, SiteParameters, Storage, Weather
from site_twin.devices.device_types import DeviceType, device_kinds
from site_twin.devices.failing import (
    CLOCK_WRONG_BY,
    FLOOD_MESSAGES,
    MEANINGS,
    REPLAYED_MESSAGES,
    SPIKE_EVERY,
    DeviceFault,
    Voice,
)
from site_twin.devices.shapes import DeviceMessage
from site_twin.readings import Powers, Readings
from site_twin.settings import TwinSettings

NOON = datetime(2026, 6, 25, 16, tzinfo=UTC)
PERIOD = timedelta(seconds=5)


@pytest.fixture
def voice() -> Voice:
    return Voice(spike=lambda _: {"power": 99.0}, lie=lambda _: {"power": -1.0}, first_sequence=100)


def _say(voice: Voice, values: Sequence[float], *faults: str) -> list[list[DeviceMessage]]:
    return [
        list(voice.say({"power": value, "capacity": 50.0}, NOON + index * PERIOD, frozenset(faults)))
        for index, value in enumerate(values)
    ]


def _powers(said: Sequence[Sequence[DeviceMessage]]) -> list[list[float]]:
    return [[sent.values["power"] for sent in at_once] for at_once in said]


def test_a_device_that_is_well_says_the_truth_once_and_counts(voice: Voice) -> None:
    said = _say(voice, [1.0, 2.0])

    assert said == [
        [DeviceMessage({"power": 1.0, "capacity": 50.0}, NOON, 100)],
        [DeviceMessage({"power": 2.0, "capacity": 50.0}, NOON + PERIOD, 101)],
    ]


@pytest.mark.parametrize("fault", [DeviceFault.SILENT, DeviceFault.OFFLINE])
def test_a_silent_device_says_nothing_and_goes_on_counting_afterwards(voice: Voice, fault: str) -> None:
    assert _say(voice, [1.0, 2.0], fault) == [[], []]
    assert _say(voice, [3.0])[0][0].sequence == 100


def test_a_stuck_device_repeats_the_value_of_the_beginning_with_new_times(voice: Voice) -> None:
    _say(voice, [1.0])

    said = _say(voice, [2.0, 3.0, 4.0], DeviceFault.STUCK)

    assert _powers(said) == [[2.0], [2.0], [2.0]]
    assert [sent.measured_at for (sent,) in said] == [NOON, NOON + PERIOD, NOON + 2 * PERIOD]
    assert _powers(_say(voice, [5.0])) == [[5.0]]
    assert _powers(_say(voice, [6.0], DeviceFault.STUCK)) == [[6.0]]


def test_spikes_come_in_every_third_message(voice: Voice) -> None:
    powers = [power for (power,) in _powers(_say(voice, [1.0] * 9, DeviceFault.SPIKES))]

    assert powers.count(99.0) == 9 / SPIKE_EVERY
    assert powers.count(1.0) == 6


def test_a_lying_device_always_lies_and_keeps_what_it_does_not_lie_about(voice: Voice) -> None:
    said = _say(voice, [1.0] * 4, DeviceFault.LYING)

    assert _powers(said) == [[-1.0]] * 4
    assert said[0][0].values["capacity"] == 50.0


def test_a_wrong_clock_tells_other_times_and_true_values(voice: Voice) -> None:
    ((sent,),) = _say(voice, [1.0], DeviceFault.CLOCK_WRONG)

    assert (sent.values["power"], sent.measured_at) == (1.0, NOON + CLOCK_WRONG_BY)


def test_duplicates_are_the_same_message_with_the_same_number(voice: Voice) -> None:
    ((first, second),) = _say(voice, [1.0], DeviceFault.DUPLICATES)

    assert first == second


def test_a_replaying_device_sends_its_last_messages_before_each_new_one(voice: Voice) -> None:
    before = [sent for (sent,) in _say(voice, [1.0, 2.0, 3.0, 4.0])]

    (said,) = _say(voice, [5.0], DeviceFault.REPLAYS)

    assert said[:-1] == before[-REPLAYED_MESSAGES:]
    assert said[-1].values["power"] == 5.0


def test_a_flood_is_many_new_messages_at_once(voice: Voice) -> None:
    (said,) = _say(voice, [1.0], DeviceFault.FLOOD)

    assert [sent.sequence for sent in said] == list(range(100, 100 + FLOOD_MESSAGES))


def test_every_fault_says_what_it_does() -> None:
    assert set(MEANINGS) == set(DeviceFault)


@pytest.fixture
def kinds() -> dict[str, DeviceType]:
    site = SiteSettings()
    parameters = SiteParameters(site, Weather(), Panels(), Storage(), Building(), seed=7)
    return {kind.device_id: kind for kind in device_kinds(Readings(parameters, site), site, TwinSettings())}


def _at_noon(generation_kw: float, load_kw: float, soc_percent: float) -> Powers:
    current_a = (load_kw * 1000 / 690,) * 3
    return Powers(NOON, generation_kw, None, 30.0, 0.0, soc_percent, 0.0, (0.0, 0.0, 0.0), load_kw, 0.0, current_a)


@pytest.mark.parametrize("powers", [_at_noon(0.0, 0.0, 20.0), _at_noon(80.0, 90.0, 90.0)])
def test_lies_can_not_be_and_spikes_can_but_are_far_away(kinds: dict[str, DeviceType], powers: Powers) -> None:
    sun, battery, load = (kinds[name].measure(powers) for name in ("pv-1", "bess-1", "meter-1"))

    assert kinds["pv-1"].lie(sun)["generation_kw"] < 0
    assert kinds["bess-1"].lie(battery)["soc_percent"] > 100
    assert kinds["meter-1"].lie(load)["load_percent"] == 400
    assert abs(kinds["pv-1"].spike(sun)["generation_kw"] - sun["generation_kw"]) >= 50
    assert abs(kinds["bess-1"].spike(battery)["soc_percent"] - battery["soc_percent"]) >= 50
    assert abs(kinds["meter-1"].spike(load)["load_kw"] - load["load_kw"]) >= 50


def test_a_spike_of_the_load_still_fits_its_own_share(kinds: dict[str, DeviceType]) -> None:
    spike = kinds["meter-1"].spike(kinds["meter-1"].measure(_at_noon(0.0, 20.0, 20.0)))

    assert (spike["load_kw"], spike["load_percent"]) == (100.0, 100.0)
    assert sum(spike["current_a"]) * 0.23 == pytest.approx(100.0)
