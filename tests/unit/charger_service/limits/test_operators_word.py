"""What people order: it wins, acts at once, ends by itself, is recorded, and survives a restart."""

from pathlib import Path

import pytest
from tests.unit.charger_service.limits.conftest import NOON, House

from charger_service.kill_audit import AuthenticatedCaller
from charger_service.operator_service import OrderRefusedError, UnknownSessionError
from charger_service.orders import DepartureOrder, ModeOrder, OrderKind, OverrideKind, OverrideOrder, SiteLimitOrder
from charger_service.ports import ChargingNeeds, CommandStatus
from ev_service.charging import ChargingMode

pytestmark = pytest.mark.anyio

WHO = AuthenticatedCaller(application="Operator", user="operator@carbon.super")


def stop(minutes: float = 30) -> OverrideOrder:
    return OverrideOrder(kind=OverrideKind.STOP, minutes=minutes, reason="fire alarm")


def build_fixed_power_order(power_kw: float, minutes: float = 30) -> OverrideOrder:
    return OverrideOrder(kind=OverrideKind.FIXED_POWER, charging_power_kw=power_kw, minutes=minutes, reason="fair")


NONE = OverrideOrder(kind=OverrideKind.NONE, reason="over")


@pytest.fixture
async def charging(house: House) -> House:
    """Three cars, the first two at 32 A."""
    await house.connect()
    await house.plug("CP-1", "CP-2", "CP-3")
    await house.set(CP_1=32.0, CP_2=32.0)
    return house


async def test_a_stop_stops_every_car_at_once_and_agents_command_no_more(charging: House) -> None:
    state = await charging.operator_service.set_override(stop(), WHO)

    assert [charging.really_a(one) for one in charging.site.chargers] == [0.0, 0.0, 0.0]
    assert state.override is not None
    assert (state.proved, state.reason, state.override.until) == (WHO, "fire alarm", NOON.replace(minute=30))
    (result,) = await charging.set(CP_1=32.0)
    assert (result.outcome, result.limited_by) == ("rejected", "override")
    assert charging.evse("CP-1").limited_by == "override"
    assert charging.limits.views.chargers().override == state.override


async def test_an_override_ends_by_itself_and_cars_fall_to_the_fallback(charging: House) -> None:
    await charging.operator_service.set_override(stop(), WHO)

    await charging.pass_time(30 * 60)

    assert charging.operator_service.override_state().override is None
    assert [charging.really_a(one) for one in charging.site.chargers] == [6.0, 6.0, 6.0]
    (result,) = await charging.set(CP_1=32.0)
    assert result.outcome == "applied"


async def test_an_override_of_many_hours_is_renewed_on_the_chargers(charging: House) -> None:
    await charging.operator_service.set_override(stop(minutes=600), WHO)

    for _ in range(12):
        await charging.pass_time(40 * 60)
        if charging.site.override is not None:
            assert [charging.really_a(one) for one in charging.site.chargers] == [0.0, 0.0, 0.0]


async def test_an_override_is_taken_back(charging: House) -> None:
    await charging.operator_service.set_override(stop(), WHO)
    state = await charging.operator_service.set_override(NONE, WHO)
    await charging.settled()

    assert state.override is None
    assert charging.really_a("CP-1") == 6.0


async def test_a_fixed_power_stays_within_the_envelope(anyio_backend: str) -> None:
    house = House(feeder_a=40.0)
    await house.connect()
    await house.plug("CP-1", "CP-2", "CP-3")

    await house.operator_service.set_override(build_fixed_power_order(11.0), WHO)

    # 11 kW are 15.9 A on three phases; three of them would be 47.7 A.
    assert [house.really_a(one) for one in house.site.chargers] == [15.9, 15.9, 8.2]


async def test_a_fixed_power_that_no_car_can_draw_is_none(charging: House) -> None:
    await charging.operator_service.set_override(build_fixed_power_order(3.0), WHO)

    assert [charging.really_a(one) for one in charging.site.chargers] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("order", "limit_a"), [(stop(), 0.0), (build_fixed_power_order(11.0), 15.9)])
async def test_a_car_that_comes_under_an_override_is_under_it(
    house: House, order: OverrideOrder, limit_a: float
) -> None:
    await house.connect()
    await house.operator_service.set_override(order, WHO)

    await house.plug("CP-1")
    assert house.really_a("CP-1") <= limit_a
    await house.pass_time(1)

    await house.until(lambda: house.really_a("CP-1") == limit_a)


async def test_a_stop_that_comes_while_limits_are_being_raised_wins(
    charging: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keep_after_a_stop(*_: object) -> bool:
        monkeypatch.undo()
        await charging.operator_service.set_override(stop(), WHO)
        return True

    monkeypatch.setattr(charging.limits.writer, "write", keep_after_a_stop)
    (result,) = await charging.set(CP_3=32.0)

    assert (result.outcome, result.limited_by) == ("rejected", "override")
    assert charging.really_a("CP-3") == 0.0


async def test_a_charger_that_hangs_does_not_hold_up_a_stop_and_is_stopped_later(charging: House) -> None:
    charging.points.at("CP-1").answer = CommandStatus.NO_ANSWER
    await charging.operator_service.set_override(stop(), WHO)
    assert charging.really_a("CP-2") == 0.0

    charging.points.at("CP-1").answer = CommandStatus.ACCEPTED
    await charging.pass_time(10)

    assert charging.really_a("CP-1") == 0.0


async def test_an_override_survives_a_restart(tmp_path: Path) -> None:
    before = House(folder=tmp_path)
    await before.connect()
    await before.plug("CP-1")
    state = await before.operator_service.set_override(stop(), WHO)
    assert state.is_kept_on_disk
    before.close()

    after = House(folder=tmp_path, clock=before.clock, points=before.points)
    assert after.operator_service.override_state() == state
    await after.connect()
    assert after.really_a("CP-1") == 0.0
    await after.pass_time(1800)
    after.close()
    assert House(folder=tmp_path, clock=before.clock).operator_service.override_state().override is None


async def test_a_lower_site_limit_lowers_cars_at_once_and_shows_to_agents(charging: House) -> None:
    # 27.6 kW are 40 A on each phase.
    answer = await charging.operator_service.set_site_limit(SiteLimitOrder(limit_kw=27.6, reason="works"), WHO)
    await charging.settled()

    assert (answer.site_limit_kw, answer.configured_kw) == (27.6, 69.0)
    assert sum(charging.really_a(one) for one in charging.site.chargers) <= 40.0
    assert charging.limits.views.chargers().site_limit_kw == 27.6
    assert charging.site.sum_loads().phase_a == pytest.approx([40.0] * 3)
    # Beside 48.3 kW of the building nothing is left to promise.
    assert [charging.evse(one).fallback_a for one in charging.site.chargers] == [0.0, 0.0, 0.0]
    assert charging.points.at("CP-1").default_a == 0.0


async def test_the_important_car_is_lowered_last(charging: House) -> None:
    session = charging.evse("CP-2").session
    assert session is not None
    await charging.operator_service.set_departure(
        session.session_id, DepartureOrder(departure=NOON.replace(hour=20), priority=5), WHO
    )

    await charging.operator_service.set_site_limit(SiteLimitOrder(limit_kw=27.6, reason="works"), WHO)
    await charging.settled()

    # 6 A of each other stay counted until its charger holds the lower default.
    assert [charging.really_a(one) for one in charging.site.chargers] == [6.0, 28.0, 6.0]


async def test_a_lifted_site_limit_gives_fallbacks_back(charging: House) -> None:
    await charging.operator_service.set_site_limit(SiteLimitOrder(limit_kw=27.6, reason="works"), WHO)
    answer = await charging.operator_service.set_site_limit(SiteLimitOrder(limit_kw=None, reason="done"), WHO)
    await charging.pass_time(1)

    assert answer.site_limit_kw == 69.0
    assert charging.points.at("CP-1").default_a == 6.0


async def test_a_site_limit_is_never_above_the_configured_one(charging: House) -> None:
    with pytest.raises(OrderRefusedError, match="69 kW at most"):
        await charging.operator_service.set_site_limit(SiteLimitOrder(limit_kw=70.0, reason="more"), WHO)

    assert (await charging.record.page(10, None)).orders == ()


async def test_the_site_limit_survives_a_restart(tmp_path: Path) -> None:
    before = House(folder=tmp_path)
    await before.operator_service.set_site_limit(SiteLimitOrder(limit_kw=20.0, reason="works"), WHO)
    before.close()

    after = House(folder=tmp_path)
    assert after.limits.views.chargers().site_limit_kw == 20.0
    await after.operator_service.set_site_limit(SiteLimitOrder(limit_kw=None, reason="done"), WHO)
    after.close()

    assert House(folder=tmp_path).limits.views.chargers().site_limit_kw == 69.0


async def test_what_a_person_says_of_a_car_stands_above_its_own_word(charging: House) -> None:
    session = charging.evse("CP-1").session
    assert session is not None
    order = DepartureOrder(departure=NOON.replace(hour=15), energy_wanted_kwh=12.0, guaranteed_a=6.0)

    told = await charging.operator_service.set_departure(session.session_id, order, WHO)
    charging.limits.events.on_charging_needs("CP-1", 1, ChargingNeeds(energy_wanted_kwh=99.0))

    assert (told.departure, told.energy_wanted_kwh, told.guaranteed_a) == (NOON.replace(hour=15), 12.0, 6.0)
    assert charging.evse("CP-1").session == told
    recorded = (await charging.record.page(10, None)).orders[0]
    assert (recorded.kind, recorded.session_id, recorded.proved) == (OrderKind.DEPARTURE, session.session_id, WHO)


async def test_a_mode_holds_until_the_session_ends_and_is_recorded(tmp_path: Path) -> None:
    before = House(folder=tmp_path)
    await before.connect()
    await before.plug("CP-1")
    session = before.evse("CP-1").session
    assert session is not None
    assert session.mode is ChargingMode.SMART

    told = await before.operator_service.set_mode(session.session_id, ModeOrder(mode=ChargingMode.SURPLUS), WHO)
    recorded = (await before.record.page(10, None)).orders[0]
    before.close()
    after = House(folder=tmp_path)

    assert told.mode is ChargingMode.SURPLUS
    assert (recorded.kind, recorded.session_id) == (OrderKind.MODE, session.session_id)
    assert recorded.mode == ModeOrder(mode=ChargingMode.SURPLUS)
    resumed = after.evse("CP-1").session
    assert resumed is not None
    assert resumed.mode is ChargingMode.SURPLUS
    with pytest.raises(UnknownSessionError):
        await after.operator_service.set_mode("nobody", ModeOrder(mode=ChargingMode.FAST), WHO)


async def test_a_departure_needs_a_session_and_the_future(charging: House) -> None:
    session = charging.evse("CP-1").session
    assert session is not None
    with pytest.raises(UnknownSessionError):
        await charging.operator_service.set_departure("nobody", DepartureOrder(departure=NOON.replace(hour=15)), WHO)
    with pytest.raises(OrderRefusedError):
        await charging.operator_service.set_departure(session.session_id, DepartureOrder(departure=NOON), WHO)


async def test_every_order_is_recorded_with_who_proved_to_give_it(charging: House) -> None:
    await charging.operator_service.set_override(stop(), WHO)
    await charging.operator_service.set_site_limit(SiteLimitOrder(limit_kw=50.0, reason="works"), None)
    await charging.operator_service.set_override(NONE, WHO)

    page = await charging.record.page(2, None)
    rest = await charging.record.page(2, page.next_before)

    assert [(one.number, one.kind, one.proved) for one in (*page.orders, *rest.orders)] == [
        (3, OrderKind.OVERRIDE, WHO),
        (2, OrderKind.SITE_LIMIT, None),
        (1, OrderKind.OVERRIDE, WHO),
    ]
    assert rest.orders[0].override == stop()


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "stop"},
        {"kind": "fixed_power", "minutes": 5},
        {"kind": "stop", "minutes": 5, "charging_power_kw": 3},
        {"kind": "stop", "minutes": 0},
        {"kind": "stop", "minutes": 1441},
        {"kind": "pause", "minutes": 5},
    ],
)
def test_what_is_no_override_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        OverrideOrder.model_validate({"reason": "x"} | said)
