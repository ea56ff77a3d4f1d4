"""GET /grid-prices as it is asked over HTTP, and the settings behind it."""

import json
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

import grid_service.app
from ev_service.clock import SteppedClock
from ev_service.errors import ConfigurationError
from ev_service.prices import GridPrices
from ev_service.settings import load
from grid_service.prices.settings import PriceSettings

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 12, 1, 11, tzinfo=UTC)
GERMAN = str(ROOT / "deploy" / "tariffs" / "example-de.json")
AMERICAN = str(ROOT / "deploy" / "tariffs" / "example-us.json")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@asynccontextmanager
async def service(monkeypatch: pytest.MonkeyPatch, **settings: str) -> AsyncGenerator[httpx.AsyncClient]:
    for name, value in settings.items():
        monkeypatch.setenv(f"GRID_PRICES_{name}", value)
    app = grid_service.app.create_app(None, SteppedClock(NOON))
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        yield client


async def test_a_site_without_prices_says_so_and_stays_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service(monkeypatch) as client:
        answer, health = await client.get("/grid-prices"), await client.get("/health")

    assert (answer.status_code, answer.json()["code"]) == (404, "prices_not_configured")
    assert answer.headers["content-type"] == "application/problem+json"
    assert health.status_code == 200
    assert "prices" not in health.json().get("warnings", {})


async def test_a_tariff_alone_gives_prices_of_48_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service(monkeypatch, SOURCE="tariff", TARIFF_FILE=AMERICAN) as client:
        answer = await client.get("/grid-prices")
        short = await client.get("/grid-prices", params={"hours": 3})
    prices = GridPrices.model_validate_json(answer.content)

    assert (answer.status_code, prices.currency, prices.source) == (200, "USD", "tariff")
    assert (len(prices.intervals), prices.known_until) == (48, NOON + timedelta(hours=48))
    assert prices.fetched_at is None
    assert (prices.intervals[0].import_price_per_kwh, prices.demand_charge_per_kw) == (0.148, 11.0)
    assert len(GridPrices.model_validate_json(short.content).intervals) == 3


@pytest.mark.parametrize("hours", ["0", "49", "-1", "1.5", "many", ""])
async def test_a_horizon_beyond_48_hours_is_refused(monkeypatch: pytest.MonkeyPatch, hours: str) -> None:
    async with service(monkeypatch, SOURCE="tariff", TARIFF_FILE=AMERICAN) as client:
        answer = await client.get("/grid-prices", params={"hours": hours})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_market_and_tariff_make_one_price(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "day.json"
    seconds = [int((NOON + timedelta(minutes=15 * index)).timestamp()) for index in range(96)]
    file.write_text(json.dumps({"unix_seconds": seconds, "price": [-40.0] * 96, "unit": "EUR / MWh"}))
    settings = {"SOURCE": "file", "FORMAT": "energy-charts", "FILE": str(file), "TARIFF_FILE": GERMAN}
    async with service(monkeypatch, **settings) as client:
        prices = GridPrices.model_validate_json((await client.get("/grid-prices")).content)
    first = prices.intervals[0]

    assert list(first.import_parts) == ["energy", "supplier", "network", "taxes", "levies", "vat"]
    assert first.import_parts["energy"] == -0.04
    assert (prices.resolution_s, prices.source, prices.fetched_at) == (900, "file energy-charts", NOON)
    assert prices.known_until == NOON + timedelta(hours=24)


async def test_a_missing_file_is_a_warning_and_no_reason_to_be_unhealthy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with service(monkeypatch, SOURCE="file", FORMAT="csv", FILE=str(tmp_path / "later.csv")) as client:
        answer, health, load_answer = [await client.get(path) for path in ("/grid-prices", "/health", "/grid-load")]

    assert (answer.status_code, answer.json()["code"]) == (503, "source_unavailable")
    assert answer.json()["detail"] == "GRID_PRICES_FILE cannot be used: No such file or directory"
    assert (health.status_code, load_answer.status_code) == (200, 200)
    assert health.json()["warnings"]["prices"] == answer.json()["detail"]


async def test_co2_of_a_file_is_in_the_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "co2.csv"
    file.write_text("interval_start,co2_g_per_kwh\n2026-12-01T11:00Z,111\n2026-12-01T12:00Z,222\n")
    async with service(monkeypatch, SOURCE="tariff", TARIFF_FILE=AMERICAN, CO2_FILE=str(file)) as client:
        prices = GridPrices.model_validate_json((await client.get("/grid-prices", params={"hours": 3})).content)

    assert [one.co2_g_per_kwh for one in prices.intervals] == [111, 222, 380]


async def test_a_tariff_that_is_replaced_by_a_broken_one_keeps_its_last_prices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "tariff.json"
    file.write_text(Path(AMERICAN).read_text())
    async with service(monkeypatch, SOURCE="tariff", TARIFF_FILE=str(file)) as client:
        await client.get("/grid-prices")
        file.write_text('{"currency": "USD", "import_')
        prices = GridPrices.model_validate_json((await client.get("/grid-prices")).content)

    assert len(prices.intervals) == 48
    assert prices.error is not None
    assert prices.error.startswith("GRID_PRICES_TARIFF_FILE")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"SOURCE": "tariff"}, "GRID_PRICES_TARIFF_FILE"),
        ({"SOURCE": "file"}, "GRID_PRICES_FILE"),
        ({"SOURCE": "http"}, "GRID_PRICES_URL"),
        ({"SOURCE": "http", "FORMAT": "energy-charts"}, "GRID_PRICES_ZONE"),
        ({"SOURCE": "http", "FORMAT": "entsoe", "ZONE": "10Y1001A1001A82H"}, "GRID_PRICES_TOKEN"),
        ({"SOURCE": "http", "FORMAT": "tibber"}, "GRID_PRICES_TOKEN"),
        ({"SOURCE": "http", "FORMAT": "awattar", "URL": "http://api.example/data"}, "GRID_PRICES_URL"),
        ({"SOURCE": "http", "FORMAT": "awattar", "REFRESH_S": "60"}, "GRID_PRICES_REFRESH_S"),
        ({"SOURCE": "mqtt", "TOPIC": "site/+/prices"}, "GRID_PRICES_TOPIC"),
        ({"SOURCE": "tariff", "TARIFF_FILE": "/nowhere/tariff.json"}, "GRID_PRICES_TARIFF_FILE"),
        ({"SOURCE": "file", "FORMAT": "csv", "FILE": "/nowhere/x.csv", "TARIFF_FILE": AMERICAN}, "energy"),
    ],
)
def test_settings_that_do_not_fit_together_do_not_start(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], name: str
) -> None:
    for variable, value in settings.items():
        monkeypatch.setenv(f"GRID_PRICES_{variable}", value)

    with pytest.raises(ConfigurationError, match=name):
        grid_service.app.create_app(None, SteppedClock(NOON))


def test_the_token_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("the-token\n")
    for name, value in {"SOURCE": "http", "FORMAT": "tibber", "TOKEN_FILE": str(file)}.items():
        monkeypatch.setenv(f"GRID_PRICES_{name}", value)
    settings = load(PriceSettings)

    secret = settings.secret()
    assert secret is not None
    assert secret.get_secret_value() == "the-token"
    assert "the-token" not in repr(settings)


async def test_a_source_on_the_web_that_is_away_lets_the_service_start(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"SOURCE": "http", "FORMAT": "own", "URL": "http://127.0.0.1:1/prices", "TIMEOUT_S": "0.5"}
    async with service(monkeypatch, **settings) as client:
        answer, health = await client.get("/grid-prices"), await client.get("/health")

    assert (answer.status_code, health.status_code) == (503, 200)
    assert "prices" in health.json()["warnings"]
