"""Over random cars, limits, faults and jumps of the clock, what chargers really allow never exceeds the envelope."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.charger_service.limits.conftest import House

from charger_service.grid_signal_service import GridSignalConfig
from charger_service.orders import OverrideKind, OverrideOrder, SiteLimitOrder
from charger_service.ports import ChargerCapabilities, ChargerModel, CommandStatus, TransactionUpdated
from ev_service.charging import LEAST_CURRENT_A, EvseState, SignalScope
from ev_service.units import utc_text

# Two are enough for everything that one can do to another, and few enough for long stories about each.
NAMES = ("CP-1", "CP-2")
FEEDER_A = 36.0
VOLTAGE_V = 230.0
NAME = st.sampled_from(NAMES)
CURRENT = st.sampled_from([32.0, 6.0, 0.0, 10.0])
PUT = st.tuples(
    st.just("put"),
    st.permutations(NAMES).flatmap(lambda names: st.tuples(*(st.tuples(st.just(one), CURRENT) for one in names))),
)
ANSWERS = st.tuples(
    st.just("answers"),
    NAME,
    st.sampled_from([CommandStatus.NO_ANSWER, CommandStatus.REJECTED, CommandStatus.ACCEPTED]),
    st.booleans(),
)
SIGNAL = st.tuples(
    st.just("signal"),
    st.sampled_from([None, 0.0, 3.0, 5.0, 9.0, 15.0, 99_000.0]),
    st.sampled_from(list(SignalScope)),
    st.sampled_from([10.0, 60.0, 600.0]),
)
CAR = st.tuples(st.just("car"), NAME)
TIME = st.tuples(st.just("time"), st.sampled_from([1.0, 11.0, 61.0, 75.0, 2000.0]))
OVERRIDE = st.tuples(st.just("override"), st.sampled_from([None, 0.0, 4.2, 11.0, 22.0]))
SITE = st.tuples(st.just("site"), st.sampled_from([None, 20.0, 55.0]))
STEPS = st.one_of(
    # Several times each: what goes wrong needs limits and bad answers in a row.
    PUT,
    PUT,
    PUT,
    ANSWERS,
    ANSWERS,
    st.tuples(st.just("hang"), NAME),
    CAR,
    TIME,
    st.tuples(st.just("line"), NAME),
    st.tuples(st.just("boot"), NAME),
    OVERRIDE,
    SITE,
    SIGNAL,
)


STORIES = st.lists(STEPS, min_size=4, max_size=25)
OBEDIENT_STORIES = st.lists(st.one_of(PUT, PUT, SIGNAL, SIGNAL, CAR, TIME, OVERRIDE, SITE), min_size=4, max_size=25)
"""Stories of chargers that are connected and accept every order."""


class NoSource:
    """A source whose messages the story hands over by itself."""

    name = "none"
    error = None

    async def run(self, on_message: Callable[[bytes], None]) -> None:
        raise AssertionError("not used")


class Field:
    """Chargers with cars, some of which come and go while nobody hears of it."""

    def __init__(self) -> None:
        signal = GridSignalConfig((NoSource(),))
        self.house = House(NAMES, feeder_a=FEEDER_A, answer_s=0.002, signal=signal)
        self.cars: set[str] = set()

    async def take(self, step: tuple[Any, ...]) -> None:
        kind, *said = step
        await getattr(self, f"_{kind}")(*said)
        await self.house.settled()

    async def _put(self, limits: tuple[tuple[str, float], ...]) -> None:
        await self.house.put(*(self.house.limit(name, limit_a) for name, limit_a in limits))

    async def _car(self, name: str) -> None:
        is_heard = name not in self.house.points.offline
        if name not in self.cars:
            self.cars.add(name)
            if is_heard:
                await self.house.plug(name)
            return
        self.cars.discard(name)
        self.house.points.at(name).limit = None
        if is_heard and self.house.site.get_session((name, 1)) is not None:
            await self.house.unplug(name)

    async def _time(self, seconds: float) -> None:
        await self.house.pass_time(seconds)

    async def _answers(self, name: str, answer: CommandStatus, obeys: bool) -> None:
        told = self.house.points.at(name)
        told.answer = answer
        # Who refuses does not obey; who does not answer may.
        told.obeys = obeys and answer is CommandStatus.NO_ANSWER
        told.default_answer = answer

    async def _hang(self, name: str) -> None:
        told = self.house.points.at(name)
        if told.waits is None:
            told.waits = asyncio.Event()
        else:
            told.waits.set()
            told.waits = None

    async def _line(self, name: str) -> None:
        events = self.house.limits.events
        if name not in self.house.points.offline:
            await self.house.disconnect(name)
            return
        self.house.points.offline.discard(name)
        events.on_connect(name, "1.6")
        session = self.house.site.get_session((name, 1))
        if name not in self.cars:
            events.on_evse_state(name, 1, EvseState.AVAILABLE)
        elif session is None:
            now = self.house.clock.now()
            events.on_transaction_updated(
                TransactionUpdated(name, 1, f"{name}-unheard-{now}", now, state=EvseState.CHARGING)
            )
        events.on_ready(name, ChargerCapabilities())

    async def _boot(self, name: str) -> None:
        if name in self.house.points.offline:
            return
        self.house.points.at(name).limit = None
        self.house.limits.events.on_boot(name, ChargerModel("V", "M"))
        await self.house.settled()
        self.house.limits.events.on_ready(name, ChargerCapabilities())

    async def _override(self, power_kw: float | None) -> None:
        order = OverrideOrder(kind=OverrideKind.NONE, reason="over")
        if power_kw == 0.0:
            order = OverrideOrder(kind=OverrideKind.STOP, minutes=3, reason="stop")
        elif power_kw is not None:
            fixed = OverrideKind.FIXED_POWER
            order = OverrideOrder(kind=fixed, charging_power_kw=power_kw, minutes=3, reason="fixed")
        await self.house.operator_service.set_override(order, None)

    async def _site(self, limit_kw: float | None) -> None:
        await self.house.operator_service.set_site_limit(SiteLimitOrder(limit_kw=limit_kw, reason="test"), None)

    async def _signal(self, limit_kw: float | None, scope: SignalScope, lasts_s: float) -> None:
        now = self.house.clock.now()
        until = utc_text(now + timedelta(seconds=lasts_s))
        limit = {"limit_kw": limit_kw, "applies_to": scope, "valid_until": until}
        limits = [] if limit_kw is None else [limit]
        message = json.dumps({"issued_at": utc_text(now), "limits": limits})
        self.house.limits.grid_signal.take("none", message.encode())

    def allowed_a(self) -> list[float]:
        return [self._allowed_a(name) for name in NAMES]

    def _allowed_a(self, name: str) -> float:
        told = self.house.points.at(name)
        if name not in self.cars:
            return 0.0
        if told.limit is not None and told.limit.valid_until > self.house.clock.now():
            return told.limit.limit_a
        assert told.default_a is not None
        return told.default_a


async def run_steps(steps: list[tuple[Any, ...]], *, is_obedient: bool = False) -> None:
    field = Field()
    try:
        await field.house.connect()
        for name in NAMES:
            await field.take(("car", name))
        for number, step in enumerate(steps):
            await field.take(step)
            allowed_a = field.allowed_a()
            assert sum(allowed_a) <= FEEDER_A + 1e-6, (number, steps)
            assert all(one == 0 or one >= LEAST_CURRENT_A for one in allowed_a), (number, steps)
            site, allowed_kw = field.house.site, sum(allowed_a) * 3 * VOLTAGE_V / 1000
            assert site.site_limit_kw <= site.rules.settings.limit_kw, "no signal raises a limit"
            if is_obedient:
                limits_kw = (site.site_limit_kw, site.signal.charging_kw)
                assert all(one is None or allowed_kw <= one + 1e-6 for one in limits_kw), (number, steps)
            counted_a = field.house.site.sum_loads().phase_a
            assert sum(allowed_a) <= counted_a[0] + 1e-6, "what is counted is never less than what is allowed"
    finally:
        for told in field.house.points.told.values():
            if told.waits is not None:
                told.waits.set()
        await field.house.limits.queue.stop()
        field.house.close()


@settings(max_examples=40)
@given(steps=STORIES)
def test_the_sum_of_what_chargers_allow_never_exceeds_the_feeder(steps: list[tuple[Any, ...]]) -> None:
    asyncio.run(run_steps(steps))


@settings(max_examples=25)
@given(steps=OBEDIENT_STORIES)
def test_the_sum_never_exceeds_the_site_and_the_grid_operators_signal(steps: list[tuple[Any, ...]]) -> None:
    asyncio.run(run_steps(steps, is_obedient=True))


def test_a_default_that_a_charger_may_still_hold_after_a_boot_counts() -> None:
    unheard = ("answers", "CP-2", CommandStatus.NO_ANSWER, False)
    put = ("put", (("CP-1", 32.0), ("CP-2", 32.0)))
    away, boot, back = ("car", "CP-2"), ("boot", "CP-2"), ("car", "CP-2")

    asyncio.run(run_steps([unheard, away, boot, ("site", 55.0), put, back]))


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STORIES)
def test_the_sum_never_exceeds_the_feeder_in_many_more_stories(steps: list[tuple[Any, ...]]) -> None:
    asyncio.run(run_steps(steps))
