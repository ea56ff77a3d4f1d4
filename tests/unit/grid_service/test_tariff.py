"""The tariff file: time windows by local time, day and season, and what they add up to with the market's prices."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ev_service.errors import SourceUnavailableError
from grid_service.prices.assembly import PriceInputs, build_prices
from grid_service.prices.table import PriceFormatError, PriceSlot, PriceTable
from grid_service.prices.tariff import LocalTariff, parse_tariff

ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 12, 1, 11, 7, tzinfo=UTC)
SHARP = NOON.replace(minute=0)
HOUR = timedelta(hours=1)


def tariff(content: dict[str, Any], timezone: str = "Europe/Berlin") -> LocalTariff:
    return LocalTariff(parse_tariff(json.dumps({"currency": "EUR", **content}).encode()), timezone)


def inputs(local: LocalTariff, market: PriceTable | None = None, **fields: Any) -> PriceInputs:
    return PriceInputs("x", "tariff", local, market is not None, market, **fields)


def market(*values: float, start: datetime = SHARP, length_s: int = 3600) -> PriceTable:
    step = timedelta(seconds=length_s)
    slots = (PriceSlot(start + index * step, length_s, {"energy": value}) for index, value in enumerate(values))
    return PriceTable.from_slots("EUR", slots)


PEAK = {"import_parts": {"network": [{"from": "17:00", "to": "20:00", "value": 0.15}, {"value": 0.05}]}}
NIGHT = {"import_parts": {"network": [{"from": "22:00", "to": "06:00", "value": 0.02}, {"value": 0.05}]}}


@pytest.mark.parametrize(
    ("at", "value"), [("16:59", 0.05), ("17:00", 0.15), ("19:59", 0.15), ("20:00", 0.05), ("00:00", 0.05)]
)
def test_a_window_holds_from_its_start_until_its_end_exclusive(at: str, value: float) -> None:
    moment = datetime.fromisoformat(f"2026-12-01T{at}+01:00").astimezone(UTC)

    assert tariff(PEAK).values_at(moment).import_parts == {"network": value}


@pytest.mark.parametrize(("at", "value"), [("21:45", 0.05), ("22:00", 0.02), ("05:59", 0.02), ("06:00", 0.05)])
def test_a_window_may_pass_midnight(at: str, value: float) -> None:
    moment = datetime.fromisoformat(f"2026-12-01T{at}+01:00").astimezone(UTC)

    assert tariff(NIGHT).values_at(moment).import_parts == {"network": value}


def test_days_months_and_dates_are_local() -> None:
    windows = [
        {"months": [12], "weekdays": ["sat", "sun"], "value": 0.01},
        {"first_day": "2027-01-01", "last_day": "2027-01-31", "value": 0.02},
        {"months": [12], "value": 0.03},
    ]
    local = tariff({"import_parts": {"network": windows}}, "America/Los_Angeles")

    def value(text: str) -> object:
        return local.values_at(datetime.fromisoformat(text)).import_parts

    assert value("2026-12-05T08:00:00+00:00") == {"network": 0.01}
    assert value("2026-12-05T07:59:00+00:00") == {"network": 0.03}
    assert value("2027-01-01T07:59:00+00:00") == {"network": 0.03}
    assert value("2027-01-01T08:00:00+00:00") == {"network": 0.02}
    assert value("2027-02-01T08:00:00+00:00") is None


@pytest.mark.parametrize(
    ("timezone", "day", "quarters"),
    [
        ("Europe/Berlin", "2026-03-29", 92),
        ("Europe/Berlin", "2026-10-25", 100),
        ("America/Los_Angeles", "2026-03-08", 92),
        ("America/Los_Angeles", "2026-11-01", 100),
    ],
)
def test_windows_follow_the_clock_on_the_wall_on_days_of_23_and_25_hours(
    timezone: str, day: str, quarters: int
) -> None:
    windows = [{"from": "00:00", "to": "06:15", "value": 0.02}, {"from": "17:00", "to": "20:00", "value": 0.15}]
    local = tariff({"import_parts": {"network": [*windows, {"value": 0.05}]}}, timezone)
    midnight = datetime.fromisoformat(day).replace(tzinfo=local.zone).astimezone(UTC)
    prices = build_prices(inputs(local), midnight, 48)
    of_day = [one for one in prices.intervals if str(one.interval_start.astimezone(local.zone).date()) == day]

    assert (prices.resolution_s, len(of_day)) == (900, quarters)
    values = [one.import_price_per_kwh for one in of_day]
    assert (values.count(0.15), values.count(0.02)) == (12, 25 + quarters - 96)
    assert prices.known_until == prices.intervals[-1].interval_start + timedelta(minutes=15)


def test_the_import_price_is_the_sum_of_market_tariff_and_tax() -> None:
    content = {
        "import_parts": {"network": [{"value": 0.1}], "taxes": [{"value": 0.02}]},
        "vat": {"percent": 20, "of": ["energy", "network"]},
        "export_energy_share": 0.9,
        "export_parts": {"premium": [{"value": 0.01}]},
        "demand_charge_per_kw": [{"months": [6], "value": 20}, {"value": 12.5}],
        "co2_g_per_kwh": [{"value": 380}],
    }
    prices = build_prices(inputs(tariff(content), market(0.05, -0.2)), NOON, 2)
    first, second = prices.intervals

    assert first.import_parts == {"energy": 0.05, "network": 0.1, "taxes": 0.02, "vat": 0.03}
    assert (first.import_price_per_kwh, first.export_price_per_kwh) == (0.2, 0.055)
    assert (second.import_price_per_kwh, second.export_price_per_kwh) == (-0.1, -0.17)
    assert (prices.demand_charge_per_kw, first.co2_g_per_kwh, prices.resolution_s) == (12.5, 380, 3600)


def test_what_the_market_has_not_published_is_absent_and_no_error() -> None:
    prices = build_prices(inputs(tariff(PEAK), market(*[0.1] * 13)), NOON, 48)

    assert prices.known_until == SHARP + 13 * HOUR
    assert (len(prices.intervals), prices.error) == (13, None)


def test_a_gap_is_said_and_not_filled() -> None:
    table = market(0.1, 0.1).updated_by(market(0.3, start=NOON.replace(hour=15, minute=0)), NOON - HOUR)
    prices = build_prices(inputs(tariff(PEAK), table), NOON, 48)

    assert prices.known_until == SHARP + 2 * HOUR
    assert prices.intervals[-1].interval_start == NOON.replace(hour=15, minute=0)
    assert prices.error == "prices from 2026-12-01T13:00:00Z on are missing, though later ones are known"


def test_yesterdays_prices_are_no_prices() -> None:
    with pytest.raises(SourceUnavailableError, match="no price is known"):
        build_prices(inputs(tariff(PEAK), market(*[0.1] * 24, start=SHARP - 24 * HOUR)), NOON, 48)


def test_a_tariff_that_ends_makes_no_price_up() -> None:
    ending = {"import_parts": {"network": [{"last_day": "2026-12-01", "value": 0.05}]}}
    prices = build_prices(inputs(tariff(ending)), NOON, 48)

    assert prices.known_until == datetime(2026, 12, 1, 23, tzinfo=UTC)


def test_prices_in_another_currency_than_the_tariffs_are_refused() -> None:
    with pytest.raises(SourceUnavailableError, match="prices come in EUR, the tariff file has CHF"):
        build_prices(inputs(tariff({**PEAK, "currency": "CHF"}), market(0.1)), NOON, 48)


@pytest.mark.parametrize(("length_s", "resolution_s"), [(900, 900), (1800, 1800), (3600, 3600)])
def test_the_resolution_is_that_of_the_source(length_s: int, resolution_s: int) -> None:
    prices = build_prices(inputs(tariff(PEAK), market(*[0.1] * 8, length_s=length_s)), NOON, 48)

    assert (prices.resolution_s, len(prices.intervals)) == (resolution_s, 8)


def test_the_resolution_is_fine_enough_for_every_window_in_every_zone() -> None:
    half = {"import_parts": {"network": [{"from": "17:30", "to": "20:00", "value": 0.15}, {"value": 0.05}]}}
    hours = market(*[0.1] * 12)

    assert build_prices(inputs(tariff(half), hours), NOON, 12).resolution_s == 1800
    assert build_prices(inputs(tariff(PEAK, "Asia/Kolkata"), hours), NOON, 12).resolution_s == 1800
    assert build_prices(inputs(tariff(PEAK, "Asia/Kathmandu"), hours), NOON, 12).resolution_s == 900


def test_co2_of_a_file_of_its_own_takes_precedence() -> None:
    slots = [PriceSlot(SHARP, 3600, co2_g_per_kwh=120.0)]
    content = {**PEAK, "co2_g_per_kwh": [{"value": 380}]}
    prices = build_prices(inputs(tariff(content), co2=PriceTable.from_slots(None, slots)), NOON, 2)

    assert [one.co2_g_per_kwh for one in prices.intervals] == [120, 380, 380]


@pytest.mark.parametrize(
    "content",
    [
        {"import_parts": {"network": []}},
        {"import_parts": {"Network": [{"value": 0.1}]}},
        {"import_parts": {"vat": [{"value": 0.1}]}},
        {"import_parts": {"network": [{"value": 0.1, "from": "17:00"}]}},
        {"import_parts": {"network": [{"value": 0.1, "from": "17:00", "to": "17:00"}]}},
        {"import_parts": {"network": [{"value": 0.1, "from": "17:05", "to": "18:00"}]}},
        {"import_parts": {"network": [{"value": 0.1, "from": 17, "to": 18}]}},
        {"import_parts": {"network": [{"value": 0.1, "months": [13]}]}},
        {"import_parts": {"network": [{"value": 0.1, "weekdays": ["someday"]}]}},
        {"import_parts": {"network": [{"value": 0.1, "first_day": "2026-02-01", "last_day": "2026-01-01"}]}},
        {"import_parts": {"network": [{"value": 0.1, "hours": [1]}]}},
        {"import_parts": {"network": [{"value": 1e9}]}},
        {"import_parts": {f"part_{index}": [{"value": 0.1}] for index in range(6)}},
        {"timezone": "Europe/Atlantis"},
        {"vat": {"percent": 19, "of": ["grid_fee"]}},
        {"export_energy_share": 0.5, "export_parts": {"energy": [{"value": 0.1}]}},
        {"demand_charge_per_kw": [{"value": -1}]},
        {"co2_g_per_kwh": [{"value": 9000}]},
        {"demand_charge": [{"value": 1}]},
    ],
)
def test_a_tariff_file_that_is_wrong_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(PriceFormatError):
        parse_tariff(json.dumps(content).encode())


def test_the_example_tariff_gives_prices_all_year() -> None:
    content = (ROOT / "deploy" / "tariffs" / "example-de.json").read_bytes()
    local = LocalTariff(parse_tariff(content), "Europe/Berlin")
    peaks = {month: local.values_at(datetime(2026, month, 15, 17, tzinfo=UTC)).import_parts for month in range(1, 13)}

    assert all(parts is not None for parts in peaks.values())
    assert [month for month, parts in peaks.items() if parts and parts["network"] > 0.1] == [1, 2, 3, 10, 11, 12]


@given(
    energy=st.lists(st.floats(-1000, 1000), min_size=1, max_size=50),
    network=st.floats(-1000, 1000),
    percent=st.floats(0, 100),
    minute=st.integers(0, 59),
)
def test_whatever_is_added_up_is_a_valid_answer(
    energy: list[float], network: float, percent: float, minute: int
) -> None:
    content = {"import_parts": {"network": [{"value": network}]}, "vat": {"percent": percent}, "export_energy_share": 1}
    prices = build_prices(inputs(tariff(content), market(*energy)), NOON.replace(minute=minute), 48)

    assert type(prices).model_validate_json(prices.model_dump_json()) == prices
