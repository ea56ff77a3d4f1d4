"""The grid operator's signal lowers what cars may draw for a time, and raises nothing, whatever its source sends."""

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.charger_service.limits.conftest import NOON, House
from tests.unit.charger_service.limits.test_operators_word import WHO, build_fixed_power_order, stop

from charger_service.audit_log import OrderAuditLog
from charger_service.grid_signal import (
    MOST_BYTES,
    MOST_LIMITS,
    GridSignals,
    SignalMessage,
    SignalRefusedError,
    SignalRules,
    parse_message,
)
from charger_service.grid_signal_service import MOST_RECORDS, RECORDS_PER_S, GridSignalConfig
from charger_service.orders import OrderKind, SiteLimitOrder
from charger_service.store import StateStore
from ev_service.charging import SignalScope
from ev_service.clock import SteppedClock, read_clock
from ev_service.lifetimes import Instant
from ev_service.units import utc_text

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


class FakeSource:
    """A source whose messages a test hands over by itself."""

    def __init__(self, name: str = "mqtt") -> None:
        self.name = name
        self.error: str | None = None

    async def run(self, on_message: Callable[[bytes], None]) -> None:
        raise AssertionError("not used")


class SignalHouse(House):
    """A site with two sources of signals."""

    def __init__(self, folder: Path | None = None, clock: SteppedClock | None = None, **more: Any) -> None:
        rules = SignalRules(**more.pop("rules", {}))
        clock = clock or SteppedClock(NOON)
        self.sources = (FakeSource("mqtt"), FakeSource("http"))
        self.audit = OrderAuditLog(StateStore(None), clock.now)
        config = GridSignalConfig(self.sources, rules, self.audit)
        super().__init__(folder=folder, clock=clock, signal=config, **more)

    async def signal(self, *limits: dict[str, Any], source: str = "mqtt", issued_s: float = 0.0) -> None:
        self.limits.grid_signal.take(source, self.message(*limits, issued_s=issued_s))
        await self.settled()

    def message(self, *limits: dict[str, Any], issued_s: float = 0.0) -> bytes:
        issued_at = self.clock.now() + timedelta(seconds=issued_s)
        return json.dumps({"issued_at": utc_text(issued_at), "limits": limits}).encode()

    def until(self, seconds: float, limit_kw: float = 12.6, **more: Any) -> dict[str, Any]:  # type: ignore[override]
        ends_at = self.clock.now() + timedelta(seconds=seconds)
        return {"limit_kw": limit_kw, "applies_to": "charging", "valid_until": utc_text(ends_at)} | more

    def drawn_kw(self) -> float:
        return sum(self.really_a(name) for name in self.site.chargers) * 3 * 230 / 1000

    async def recorded(self) -> list[Any]:
        service: Any = self.limits.grid_signal
        if service._saving is not None:
            await service._saving
        return [one.grid_signal for one in (await self.audit.page(100, None)).orders]


@pytest.fixture
async def charging(anyio_backend: str) -> AsyncIterator[SignalHouse]:
    """Three cars, the first two at 32 A."""
    house = SignalHouse()
    await start(house)
    yield house
    house.close()


async def start(house: House) -> None:
    await house.connect()
    await house.plug("CP-1", "CP-2", "CP-3")
    await house.set(CP_1=32.0, CP_2=32.0)


async def test_a_signal_lowers_all_cars_at_once_and_names_itself(charging: SignalHouse) -> None:
    assert charging.drawn_kw() > 40

    await charging.signal(charging.until(900))

    assert charging.drawn_kw() <= 12.6
    assert {charging.evse("CP-1").limited_by, charging.evse("CP-2").limited_by} == {"grid_signal"}
    answer = charging.limits.views.chargers()
    assert (answer.charging_limit_kw, answer.site_limit_kw) == (12.6, 69.0)
    (shown,) = answer.grid_signals
    assert (shown.limit_kw, shown.is_in_force, shown.source) == (12.6, True, "mqtt")
    assert shown.valid_until == NOON + timedelta(seconds=900)


async def test_agents_get_no_more_than_the_signal_allows(charging: SignalHouse) -> None:
    await charging.signal(charging.until(900, 20.0))

    results = await charging.set(CP_1=32.0, CP_2=32.0)

    assert "grid_signal" in {result.limited_by for result in results}
    assert charging.drawn_kw() <= 20.0


async def test_a_signal_ends_by_itself_and_the_fallback_returns(charging: SignalHouse) -> None:
    await charging.signal(charging.until(900, 0.0))
    assert charging.drawn_kw() == 0
    for _ in range(15):
        await charging.pass_time(60)
    await charging.pass_time(1)
    await charging.pass_time(1)

    assert charging.limits.views.chargers().charging_limit_kw is None
    assert [charging.really_a(name) for name in charging.site.chargers] == [6.0, 6.0, 6.0]
    assert (await charging.set(CP_1=32.0))[0].outcome == "applied"


async def test_a_signal_for_the_connection_is_the_limit_of_the_site(charging: SignalHouse) -> None:
    await charging.signal(charging.until(900, 30.0, applies_to="connection"))

    answer = charging.limits.views.chargers()
    assert (answer.site_limit_kw, answer.charging_limit_kw) == (30.0, None)
    assert charging.drawn_kw() <= 30.0
    assert charging.evse("CP-2").limited_by == "grid_signal"


async def test_a_signal_above_the_sites_limits_raises_nothing(charging: SignalHouse) -> None:
    await charging.operator_service.set_site_limit(SiteLimitOrder(limit_kw=30.0, reason="works"), WHO)
    before = [charging.really_a(name) for name in charging.site.chargers]

    await charging.signal(charging.until(900, 99_000.0), charging.until(900, 99_000.0, applies_to="connection"))

    assert [charging.really_a(name) for name in charging.site.chargers] == before
    assert charging.limits.views.chargers().site_limit_kw == 30.0
    await charging.set(CP_1=32.0, CP_2=32.0)
    assert charging.drawn_kw() <= 30.0
    assert charging.evse("CP-1").limited_by != "grid_signal"


async def test_an_override_lifts_no_signal_and_gets_its_power_once_that_is_over(charging: SignalHouse) -> None:
    await charging.signal(charging.until(300, 20.0))

    await charging.operator_service.set_override(build_fixed_power_order(22.0), WHO)

    assert charging.drawn_kw() <= 20.0
    assert "grid_signal" in {charging.evse(name).limited_by for name in charging.site.chargers}
    await charging.pass_time(300)
    await charging.pass_time(1)
    await charging.pass_time(1)
    assert charging.drawn_kw() > 60


async def test_an_operators_stop_holds_whatever_a_signal_allows(charging: SignalHouse) -> None:
    await charging.operator_service.set_override(stop(), WHO)

    await charging.signal(charging.until(900, 50.0))

    assert charging.drawn_kw() == 0
    assert charging.evse("CP-1").limited_by == "override"


async def test_a_limit_that_is_announced_begins_in_its_time(charging: SignalHouse) -> None:
    begin = utc_text(NOON + timedelta(seconds=30))
    await charging.signal(charging.until(900, valid_from=begin))
    assert charging.drawn_kw() > 40
    assert [one.is_in_force for one in charging.limits.views.chargers().grid_signals] == [False]

    await charging.pass_time(30)

    assert charging.drawn_kw() <= 12.6


async def test_of_two_sources_the_lower_limit_counts(charging: SignalHouse) -> None:
    await charging.signal(charging.until(900, 20.0))
    await charging.signal(charging.until(600, 15.0), source="http")
    assert charging.site.signal.charging_kw == 15.0

    await charging.signal(source="mqtt")
    assert charging.site.signal.charging_kw == 15.0
    await charging.pass_time(600)

    assert charging.site.signal.charging_kw is None


@pytest.mark.parametrize("by", [HOUR, -HOUR, timedelta(days=400)])
async def test_a_clock_that_is_set_ends_no_signal(charging: SignalHouse, by: timedelta) -> None:
    limit = charging.until(900)
    await charging.signal(limit)
    charging.clock.set_wall(charging.clock.now() + by)
    for _ in range(14):
        await charging.pass_time(60)
        # The source repeats itself, by its own clock.
        await charging.signal(limit, issued_s=-by.total_seconds())
        assert charging.drawn_kw() <= 12.6


async def test_a_clock_that_is_set_delays_no_announced_begin(charging: SignalHouse) -> None:
    await charging.signal(charging.until(900, valid_from=utc_text(NOON + timedelta(seconds=30))))
    charging.clock.set_wall(NOON - HOUR)

    await charging.pass_time(30)

    assert charging.drawn_kw() <= 12.6


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 5000,
        b'{"issued_at": "2026-06-21T12:00:00Z"}',
        b'{"issued_at": "2026-06-21T12:00:00", "limits": []}',
        b'{"issued_at": "2026-06-21T12:00:00Z", "limits": [{"limit_kw": -1, "applies_to": "charging"}]}',
        b'{"issued_at": "2026-06-21T12:00:00Z", "limits": [{"limit_kw": NaN, "applies_to": "charging"}]}',
        b'{"issued_at": "2026-06-21T12:00:00Z", "limits": [{"limit_kw": 1e999, "applies_to": "charging"}]}',
        b'{"issued_at": "2026-06-21T12:00:00Z", "limits": [{"limit_kw": "5", "applies_to": "charging"}]}',
        b'{"issued_at": "2026-06-21T12:00:00Z", "limits": [{"limit_kw": true, "applies_to": "charging"}]}',
        b'{"issued_at": "2026-06-21T12:00:00Z", "limits": [{"limit_kw": 5}]}',
        b'{"issued_at": "2026-06-21T12:00:00Z", "limits": [{"limit_kw": 5, "applies_to": "everything"}]}',
        b'{"issued_at": "2026-06-21T12:00:00Z", "limits": [{"limit_kw": 5, "applies_to": "charging",'
        b' "valid_from": "2026-06-21T13:00:00Z", "valid_until": "2026-06-21T12:30:00Z"}]}',
        b'{"issued_at": "2026-06-21T12:00:00Z", "limits": ['
        + b",".join([b'{"limit_kw": 5, "applies_to": "charging"}'] * (MOST_LIMITS + 1))
        + b"]}",
        b'{"issued_at": "2026-06-21T12:00:00Z", "limits": []' + b" " * MOST_BYTES + b"}",
    ],
)
async def test_a_message_that_cannot_be_used_changes_nothing_and_is_told(charging: SignalHouse, payload: bytes) -> None:
    await charging.signal(charging.until(900))

    charging.limits.grid_signal.take("mqtt", payload)

    assert charging.site.signal.charging_kw == 12.6
    assert "refused" in (charging.limits.grid_signal.warning() or "")
    await charging.signal(charging.until(900))
    assert charging.limits.grid_signal.warning() is None


@given(payload=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_message_or_refused(payload: bytes) -> None:
    with suppress(SignalRefusedError):
        assert parse_message(payload).limits is not None


async def test_a_limit_without_an_end_is_bounded_and_lasts_while_it_is_repeated() -> None:
    house = SignalHouse(rules={"longest_s": 600.0})
    endless = {"limit_kw": 12.6, "applies_to": "charging"}
    await house.signal(endless)
    await house.pass_time(500)
    await house.signal(endless)
    await house.pass_time(500)
    assert house.site.signal.charging_kw == 12.6

    await house.pass_time(100)

    assert house.site.signal.charging_kw is None
    house.close()


async def test_a_limit_that_lasts_too_long_is_bounded() -> None:
    house = SignalHouse(rules={"longest_s": 600.0})
    await house.signal(house.until(30 * 86_400))
    await house.pass_time(599)
    assert house.site.signal.charging_kw == 12.6
    await house.pass_time(1)

    assert house.site.signal.charging_kw is None
    house.close()


async def test_an_expired_message_is_ignored_and_told(charging: SignalHouse) -> None:
    await charging.signal(charging.until(-1), issued_s=-3600)

    assert charging.site.signal.charging_kw is None
    assert "expired" in (charging.limits.grid_signal.warning() or "")


async def test_limits_too_far_ahead_are_ignored(charging: SignalHouse) -> None:
    far = {"limit_kw": 1.0, "applies_to": "charging", "valid_from": "9999-12-31T23:59:59Z"}

    await charging.signal(far)

    assert charging.limits.views.chargers().grid_signals == ()


async def test_an_older_message_adds_limits_and_lifts_none(charging: SignalHouse) -> None:
    await charging.signal(charging.until(900, 20.0))
    await charging.signal(issued_s=-60)
    assert charging.site.signal.charging_kw == 20.0
    await charging.signal(charging.until(900, 15.0), issued_s=-60)
    assert charging.site.signal.charging_kw == 15.0

    await charging.signal(charging.until(900, 20.0), issued_s=1)

    assert charging.site.signal.charging_kw == 20.0


async def test_a_message_of_the_future_keeps_no_later_one_out(charging: SignalHouse) -> None:
    await charging.signal(charging.until(900, 20.0), issued_s=10 * 365 * 86_400)
    await charging.pass_time(1)

    await charging.signal()

    assert charging.site.signal.charging_kw is None


async def test_while_its_source_is_silent_the_safe_default_applies() -> None:
    house = SignalHouse(rules={"default_kw": 12.6, "silent_after_s": 60.0})
    await start(house)
    for _ in range(3):
        await house.pass_time(30)
        await house.signal(source="mqtt")
        await house.signal(source="http")
        await house.set(CP_1=32.0, CP_2=32.0)
        assert house.drawn_kw() > 40

    for _ in range(2):
        await house.pass_time(30)
        await house.signal(source="mqtt")
        # An old message again, such as one that the broker retained, is no sign of life.
        await house.signal(source="http", issued_s=-90)

    assert house.drawn_kw() <= 12.6
    assert "http: silent for 60 s, all cars together may draw 12.6 kW" in (house.limits.grid_signal.warning() or "")
    (shown,) = house.limits.views.chargers().grid_signals
    assert (shown.is_default, shown.source, shown.valid_until) == (True, "http", None)
    await house.signal(source="http")
    assert house.site.signal.charging_kw is None
    assert house.limits.grid_signal.warning() is None
    house.close()


async def test_a_source_that_speaks_only_when_there_is_something_is_not_silent(charging: SignalHouse) -> None:
    await charging.pass_time(86_400)

    assert charging.site.signal.charging_kw is None
    assert charging.limits.grid_signal.warning() is None


async def test_a_lower_limit_than_the_grid_operator_may_order_counts_as_that() -> None:
    house = SignalHouse(rules={"minimum_kw": 12.6})
    await house.signal(house.until(900, 0.0))

    assert house.site.signal.charging_kw == 12.6
    house.close()


async def test_a_source_that_cannot_be_reached_is_told(charging: SignalHouse) -> None:
    charging.sources[1].error = "the server answers 503"

    assert charging.limits.grid_signal.warning() == "the grid operator's signal by http: the server answers 503"


async def test_signals_survive_a_restart(tmp_path: Path) -> None:
    before = SignalHouse(tmp_path, rules={"default_kw": 5.0, "silent_after_s": 60.0})
    await before.signal(before.until(900), before.until(1800, 9.0, valid_from=utc_text(NOON + 0.25 * HOUR)))
    await before.pass_time(30)
    await before.signal(source="http")
    await before.recorded()
    before.close()

    after = SignalHouse(tmp_path, before.clock, rules={"default_kw": 5.0, "silent_after_s": 60.0})

    assert after.site.signal.charging_kw == 12.6
    # Silence is written each minute, as remaining times are.
    await after.pass_time(60)
    await after.signal(source="http")
    assert after.site.signal == after.site.signals.limits(read_clock(after.clock))
    assert (after.site.signal.silent, after.site.signal.charging_kw) == (("mqtt",), 5.0)
    await after.signal(after.until(810), after.until(1710, 9.0, valid_from=utc_text(NOON + 0.25 * HOUR)))
    await after.pass_time(810)
    await after.signal(after.until(900, 9.0))
    await after.signal(source="http")
    assert after.site.signal.charging_kw == 9.0
    after.close()


async def test_each_change_is_recorded_with_what_cars_drew(charging: SignalHouse) -> None:
    charging.meter("CP-1", 32.0)
    await charging.signal(charging.until(60, signal_id="2026-06-21.1"))
    await charging.recorded()
    await charging.pass_time(60)

    over, begun = await charging.recorded()

    assert (begun.charging_limit_kw, begun.signal_ids) == (12.6, ("2026-06-21.1",))
    assert begun.drawn_kw == pytest.approx(22.08, abs=0.1)
    assert (over.charging_limit_kw, over.reason) == (None, "the grid operator's signal is over")
    (record, _) = (await charging.audit.page(100, None)).orders
    assert record.kind is OrderKind.GRID_SIGNAL


async def test_a_flood_of_changes_is_applied_and_not_recorded_without_bound(charging: SignalHouse) -> None:
    for number in range(5 * MOST_RECORDS):
        await charging.signal(charging.until(900, 10.0 + number % 7))
        assert charging.site.signal.charging_kw == 10.0 + number % 7
    assert len(await charging.recorded()) <= MOST_RECORDS
    await charging.pass_time(RECORDS_PER_S)

    (newest, *_) = await charging.recorded()

    assert newest.unrecorded == 4 * MOST_RECORDS


async def test_a_raise_that_is_being_persisted_is_not_sent_beyond_a_new_signal(charging: SignalHouse) -> None:
    await charging.set(CP_1=6.0, CP_2=6.0)
    write = charging.limits.writer.write

    async def write_while_a_signal_arrives(keys: Any = ()) -> bool:
        charging.limits.grid_signal.take("mqtt", charging.message(charging.until(900)))
        return await write(keys)

    charging.limits.writer.write = write_while_a_signal_arrives
    charging.points.sent.clear()

    await charging.set(CP_1=32.0, CP_2=32.0)

    assert charging.drawn_kw() <= 12.6
    assert all(limit_a < 7.0 for _, limit_a in charging.points.sent)


MOMENTS = st.integers(-100, 4000).map(float)
LIMITS = st.fixed_dictionaries(
    {"limit_kw": st.sampled_from([0.0, 5.0, 20.0]), "applies_to": st.sampled_from(list(SignalScope))},
    optional={"valid_from": MOMENTS, "valid_until": MOMENTS},
)


@given(
    stories=st.lists(st.tuples(st.lists(LIMITS, max_size=3), st.integers(0, 900), st.integers(-7200, 7200)), max_size=8)
)
def test_a_limit_of_the_newest_message_counts_through_its_time_whatever_happens_to_the_clock(
    stories: list[tuple[list[dict[str, Any]], int, int]],
) -> None:
    """By elapsed time alone a limit counts at least from its begin to its end, as they were when it arrived."""
    signals, clock = GridSignals(("mqtt",), SignalRules(longest_s=4000.0)), SteppedClock(NOON)
    for limits, passed_s, set_by_s in stories:
        now = read_clock(clock)
        said = [
            one | {name: now.wall + timedelta(seconds=one[name]) for name in one if "valid" in name} for one in limits
        ]
        try:
            message = SignalMessage.model_validate({"issued_at": now.wall, "limits": tuple(said)})
        except ValueError:
            continue
        signals.take("mqtt", message, now)
        clock.set_wall(clock.now() + timedelta(seconds=set_by_s))
        clock.advance(float(passed_s))
        later = read_clock(clock)
        active = [
            one for one in limits if _counts_surely(one, now, later) and one["applies_to"] is SignalScope.CHARGING
        ]
        counted_kw = signals.limits(later).charging_kw
        if active:
            assert counted_kw is not None
            assert counted_kw <= min(one["limit_kw"] for one in active)


def _counts_surely(limit: dict[str, Any], arrived: Instant, now: Instant) -> bool:
    elapsed_s = now.monotonic_s - arrived.monotonic_s
    end_s = min(limit.get("valid_until", math.inf), max(0.0, limit.get("valid_from", 0.0)) + 4000.0)
    return limit.get("valid_from", 0.0) <= elapsed_s < end_s
