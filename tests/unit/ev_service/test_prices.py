"""Prices on the wire: sums of parts, intervals in order, and how far they reach."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from ev_service.prices import GridPrices

NOW = datetime(2026, 6, 21, 16, 5, tzinfo=UTC)
FIRST = datetime(2026, 6, 21, 16, 0, tzinfo=UTC)


def interval(minute: int, **fields: Any) -> dict[str, Any]:
    prices = {"import_price_per_kwh": 0.3, "import_parts": {"energy": 0.1, "network": 0.2}}
    return {"interval_start": FIRST + timedelta(minutes=minute), **prices, **fields}


def prices(minutes: tuple[int, ...] = (0, 15, 30), known_until: int = 45, **fields: Any) -> dict[str, Any]:
    return {
        "site_id": "x",
        "timestamp": NOW,
        "source": "tariff",
        "currency": "EUR",
        "resolution_s": 900,
        "intervals": [interval(minute) for minute in minutes],
        "known_until": FIRST + timedelta(minutes=known_until),
    } | fields


def test_prices_travel_as_json_and_back() -> None:
    sent = GridPrices.model_validate(prices())

    assert GridPrices.model_validate_json(sent.model_dump_json()) == sent


def test_an_interval_that_is_not_known_is_absent_and_ends_what_is_known() -> None:
    assert GridPrices.model_validate(prices((0, 30), known_until=15)).known_until == FIRST + timedelta(minutes=15)
    assert GridPrices.model_validate(prices((15, 30), known_until=5)).known_until == NOW


@pytest.mark.parametrize(
    ("minutes", "known_until"), [((0, 15), 45), ((0, 0), 15), ((15, 0), 15), ((0, 20), 15), ((-15, 0), 15)]
)
def test_intervals_must_rise_in_steps_and_reach_as_far_as_is_said(minutes: tuple[int, ...], known_until: int) -> None:
    with pytest.raises(ValidationError, match=r"steps|known_until|over at"):
        GridPrices.model_validate(prices(minutes, known_until))


@pytest.mark.parametrize(
    "fields",
    [
        {"import_price_per_kwh": 0.31},
        {"import_price_per_kwh": float("nan")},
        {"import_parts": {}},
        {"import_parts": {"Energy!": 0.3}},
        {"export_price_per_kwh": 0.1},
        {"export_parts": {"energy": 0.1}},
        {"export_price_per_kwh": 0.2, "export_parts": {"energy": 0.1}},
        {"co2_g_per_kwh": -1.0},
    ],
)
def test_a_price_is_the_sum_of_its_named_parts(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GridPrices.model_validate(prices(intervals=[interval(0, **fields)], known_until=15))


def test_a_negative_price_is_a_price() -> None:
    paid = interval(0, import_price_per_kwh=-0.05, import_parts={"energy": -0.25, "network": 0.2})

    assert GridPrices.model_validate(prices(intervals=[paid], known_until=15)).intervals[0].import_price_per_kwh < 0


@pytest.mark.parametrize("currency", ["eur", "EURO", "€"])
def test_a_currency_has_three_capital_letters(currency: str) -> None:
    with pytest.raises(ValidationError):
        GridPrices.model_validate(prices(currency=currency))
