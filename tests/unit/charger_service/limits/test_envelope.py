"""What fits in the envelope, and the fallbacks that always fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charger_service.envelope import (
    NOTHING,
    CurrentRequest,
    Currents,
    Envelope,
    EvseWiring,
    PhaseLoads,
    choose_fallbacks,
    grant,
    max_currents,
)
from ev_service.charging import LEAST_CURRENT_A

WIRINGS = st.sampled_from([(1, 2, 3), (2, 3, 1), (1,), (2,), (3,), (1, 2)])
AMPERES = st.floats(0, 80)


def envelope_of(limit_kw: float, main_a: float, side_a: float) -> Envelope:
    return Envelope(limit_kw, 230.0, 3, {"main": main_a, "side": side_a})


ENVELOPES = st.builds(envelope_of, st.floats(1, 120), st.floats(1, 200), st.floats(1, 200))


@st.composite
def asks(draw: st.DrawFn) -> list[CurrentRequest]:
    found: list[CurrentRequest] = []
    for number in range(draw(st.integers(0, 12))):
        wired = draw(WIRINGS)
        wiring = EvseWiring((f"CP-{number}", 1), draw(st.sampled_from(["main", "side"])), wired, draw(st.floats(6, 63)))
        phases = draw(st.none() | st.integers(1, len(wired)))
        counted = wiring.currents(draw(st.sampled_from([0.0, 0.0, 6.0, 9.7])))
        found.append(CurrentRequest(wiring, draw(AMPERES), phases, counted))
    return found


def carried_with(grants: list[tuple[CurrentRequest, Currents]]) -> PhaseLoads:
    loads = PhaseLoads()
    for ask, currents in grants:
        loads.add(ask.wiring, max_currents((ask.counted, currents)))
    return loads


@given(asks=asks(), envelope=ENVELOPES)
def test_grants_never_exceed_a_limit_nor_add_to_what_exceeds_it_already(
    asks: list[CurrentRequest], envelope: Envelope
) -> None:
    before = carried_with([(ask, NOTHING) for ask in asks])

    granted = grant(asks, PhaseLoads(), envelope)

    after = carried_with(
        [(ask, ask.wiring.currents(one.limit_a, ask.phases)) for ask, one in zip(asks, granted, strict=True)]
    )
    assert sum(after.phase_a) <= max(envelope.site_a, sum(before.phase_a)) + 1e-5
    for used_a, counted_a in zip(after.phase_a, before.phase_a, strict=True):
        assert used_a <= max(envelope.phase_a, counted_a) + 1e-5
    for feeder_id, feeder_a in after.feeder_a.items():
        for used_a, counted_a in zip(feeder_a, before.feeder_a[feeder_id], strict=True):
            assert used_a <= max(envelope.feeder_a[feeder_id], counted_a) + 1e-5
    for ask, one in zip(asks, granted, strict=True):
        assert one.limit_a == 0 or LEAST_CURRENT_A <= one.limit_a <= min(ask.limit_a, ask.wiring.max_current_a) + 1e-5


@given(asks=asks(), envelope=ENVELOPES)
def test_whoever_gets_less_than_asked_is_told_by_what(asks: list[CurrentRequest], envelope: Envelope) -> None:
    for ask, one in zip(asks, grant(asks, PhaseLoads(), envelope), strict=True):
        if one.limited_by is not None:
            assert one.limit_a < ask.limit_a
            assert one.limited_by in {"site_limit", "phase_limit", "feeder_limit", "charger_limit"}
        elif ask.limit_a >= LEAST_CURRENT_A:
            assert one.limit_a == pytest.approx(ask.limit_a, abs=0.1)


def wiring(number: int, phases: tuple[int, ...] = (1, 2, 3), feeder: str = "main") -> EvseWiring:
    return EvseWiring((f"CP-{number}", 1), feeder, phases, 32.0)


@pytest.mark.parametrize(
    ("envelope", "phases", "limit_a", "limited_by"),
    [
        (Envelope(13.8, 230.0, 3, {"main": 100.0}), (1, 2, 3), 20.0, "site_limit"),
        (Envelope(13.8, 230.0, 3, {"main": 100.0}), (2,), 20.0, "phase_limit"),
        (Envelope(69.0, 230.0, 3, {"main": 16.0}), (1, 2, 3), 16.0, "feeder_limit"),
        (Envelope(69.0, 230.0, 3, {"main": 100.0}), (1, 2, 3), 32.0, "charger_limit"),
        (Envelope(3.0, 230.0, 3, {"main": 100.0}), (1, 2, 3), 0.0, "site_limit"),
    ],
)
def test_each_limit_is_named_where_it_binds(
    envelope: Envelope, phases: tuple[int, ...], limit_a: float, limited_by: str
) -> None:
    (granted,) = grant([CurrentRequest(wiring(1, phases), 63.0, None, NOTHING)], PhaseLoads(), envelope)

    assert (granted.limit_a, granted.limited_by) == (limit_a, limited_by)


def test_cars_on_different_phases_do_not_take_each_others_room() -> None:
    envelope = Envelope(13.8, 230.0, 3, {"main": 100.0})

    granted = grant([CurrentRequest(wiring(n, (n,)), 20.0, None, NOTHING) for n in (1, 2, 3)], PhaseLoads(), envelope)

    assert [one.limit_a for one in granted] == [20.0, 20.0, 20.0]


def test_what_would_be_less_than_six_amperes_is_nothing() -> None:
    envelope = Envelope(13.8, 230.0, 3, {"main": 100.0})

    first, second = grant([CurrentRequest(wiring(n), 15.0, None, NOTHING) for n in (1, 2)], PhaseLoads(), envelope)

    assert (first.limit_a, second.limit_a, second.limited_by) == (15.0, 0.0, "site_limit")


@given(
    wirings=st.lists(st.tuples(WIRINGS, st.sampled_from(["main", "side"]), st.floats(6, 63)), max_size=20),
    envelope=ENVELOPES,
    building_kw=st.floats(0, 120),
    fallback_a=st.sampled_from([0.0, 6.0, 10.0]),
)
def test_all_fallbacks_and_the_building_fit_under_every_limit(
    wirings: list[tuple[tuple[int, ...], str, float]], envelope: Envelope, building_kw: float, fallback_a: float
) -> None:
    made = [EvseWiring((f"CP-{n}", 1), feeder, wired, most_a) for n, (wired, feeder, most_a) in enumerate(wirings)]

    fallbacks = choose_fallbacks(made, envelope, building_kw=building_kw, fallback_a=fallback_a)

    loads = PhaseLoads()
    for one in made:
        loads.add(one, one.currents(fallbacks[one.key]))
        assert fallbacks[one.key] == 0 or fallbacks[one.key] >= LEAST_CURRENT_A
    building_a = building_kw * 1000 / envelope.voltage_v / 3
    if any(loads.phase_a):
        assert max(loads.phase_a) + building_a <= envelope.phase_a + 1e-6
    assert not loads.exceeds(envelope)


def test_without_a_word_on_the_building_nobody_falls_to_more_than_nothing() -> None:
    envelope = Envelope(100.0, 230.0, 3, {"main": 100.0})

    assert choose_fallbacks([wiring(1)], envelope, building_kw=None, fallback_a=6.0) == {("CP-1", 1): 0.0}
