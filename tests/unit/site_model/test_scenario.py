from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from site_model.parameters import Building, Panels, SiteParameters
from site_model.scenario import Site, SiteState
from site_model.yield_table import create_computed_sun, create_tabled_sun

DEMO_DAY = date(2026, 6, 25)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@settings(max_examples=30)  # each new day follows the battery through the days before it
@given(moment=MOMENTS)
def test_the_powers_close_at_the_connection(site: Site, moment: datetime) -> None:
    state = site.at(moment)

    drawn_kw = state.building_kw + state.battery_power_kw - state.generation_kw
    assert state.load_kw - state.export_kw == pytest.approx(drawn_kw)
    assert min(state.load_kw, state.export_kw) == 0


@settings(max_examples=30)  # each new day follows the battery through the days before it
@given(moment=MOMENTS)
def test_every_state_is_one_that_a_site_can_have(parameters: SiteParameters, site: Site, moment: datetime) -> None:
    state = site.at(moment)

    assert 0 <= state.generation_kw <= parameters.panels.capacity_kwp
    assert parameters.storage.reserve_percent - 1e-9 <= state.soc_percent <= 100
    assert state.load_percent == pytest.approx(state.load_kw / parameters.place.limit_kw * 100)


def test_the_story_does_not_depend_on_what_was_asked_before(parameters: SiteParameters, site: Site) -> None:
    moments = [datetime(2026, month, 11, hour, 3, tzinfo=UTC) for month in (1, 6, 12) for hour in (0, 9, 18)]

    asked_backwards = {moment: site.at(moment) for moment in reversed(moments)}

    for moment in moments:
        assert Site(parameters, create_tabled_sun(parameters)).at(moment) == asked_backwards[moment]


def test_another_seed_tells_another_story(parameters: SiteParameters, site: Site) -> None:
    other = Site(replace(parameters, seed=8), create_tabled_sun(parameters))
    evening = datetime(2026, 6, 25, 23, 7, tzinfo=UTC)

    assert other.at(evening) != site.at(evening)


def test_the_battery_goes_through_midnight_without_a_jump(site: Site) -> None:
    # Each day is followed on its own, from ten days before; two that meet must agree on where they meet.
    midnights = [datetime(2026, month, day, tzinfo=UTC) for month in (3, 6, 12) for day in range(1, 31)]

    jumps = [abs(site.at(at).soc_percent - site.at(at - timedelta(microseconds=1)).soc_percent) for at in midnights]

    assert max(jumps) < 0.01


def test_solar_and_battery_see_the_same_sun(parameters: SiteParameters, site: Site) -> None:
    solar = Site(parameters, create_computed_sun(parameters))

    for hour in range(24):
        moment = datetime(2026, 6, 25, hour, 20, tzinfo=UTC)
        assert solar.panels_at(moment).generation_kw == pytest.approx(site.at(moment).generation_kw, abs=0.1)


def test_a_night_without_storage_or_surges_draws_the_building_alone(parameters: SiteParameters) -> None:
    calm = replace(parameters, building=Building(surges_per_day=0), panels=Panels(capacity_kwp=1e-3))

    state = Site(calm, create_tabled_sun(calm)).at(datetime(2026, 6, 25, 6, tzinfo=UTC))

    assert (state.generation_kw, state.battery_power_kw, state.export_kw) == (0.0, 0.0, 0.0)
    assert state.load_kw == state.building_kw


def _rule(state: SiteState, parameters: SiteParameters) -> str:
    """The decision that the state leads to, so far as the story can tell: fail_safe is never its doing."""
    if state.load_percent > 85:
        return "grid_overload"
    share = state.generation_kw / parameters.panels.capacity_kwp
    if share >= 0.6 and state.soc_percent >= 70:
        return "solar_and_battery_high"
    return "solar_medium" if share >= 0.25 else "solar_low"


@pytest.mark.parametrize("zone", [UTC, ZoneInfo("America/New_York")])
def test_the_day_of_the_demo_shows_every_rule_and_two_overloads(
    parameters: SiteParameters, site: Site, zone: ZoneInfo
) -> None:
    start = datetime(DEMO_DAY.year, DEMO_DAY.month, DEMO_DAY.day, tzinfo=zone)

    rules = [_rule(site.at(start + timedelta(minutes=5 * step)), parameters) for step in range(288)]

    begun = [rule for rule, before in zip(rules, ["", *rules], strict=False) if rule != before]
    assert begun.count("grid_overload") >= 2
    assert set(rules) == {"grid_overload", "solar_and_battery_high", "solar_medium", "solar_low"}
