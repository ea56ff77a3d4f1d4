"""What the three services that answer readings owe alike: each in process, on a clock that the test moves."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import RSAKey

import battery_service.app
import grid_service.app
import solar_service.app
from battery_service.sources import BatterySourceSettings
from ev_service.assertion import CONTEXT_CLAIM, ISSUER
from ev_service.clock import Clock, SteppedClock
from ev_service.errors import ConfigurationError
from ev_service.history.settings import HistorySettings
from ev_service.openapi import build_published_definition
from ev_service.settings import RunSettings, SiteSettings
from ev_service.sources import ServiceSettings, SourceSettings
from ev_service.telemetry import BatteryStatus, GridLoad, Reading, SolarStatus
from grid_service.sources import GridSourceSettings
from solar_service.sources import SolarSourceSettings

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 25, 16, tzinfo=UTC)


@dataclass(frozen=True)
class Service:
    """One of the three, and a row of a recording that it would play."""

    create_app: Callable[[ServiceSettings | None, Clock | None], FastAPI]
    source: type[SourceSettings]
    path: str
    apicontext: str
    model: type[Reading]
    columns: str
    cells: str
    further_paths: tuple[str, ...] = ()

    def settings(self, run: RunSettings | None = None, **source: object) -> ServiceSettings:
        return ServiceSettings(self.source.model_validate(source), SiteSettings(), run or RunSettings())

    def replaying(self, file: Path, *rows: str, columns: str | None = None) -> ServiceSettings:
        file.write_text("\n".join([columns or f"timestamp,{self.columns}", *rows, ""]), encoding="utf-8")
        return self.settings(source="replay", replay_file=file)

    def client(
        self, settings: ServiceSettings | None = None, clock: Clock | None = None
    ) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return _client(self.create_app(settings or self.settings(), clock or SteppedClock(NOON)))


SERVICES = {
    "solar": Service(
        solar_service.app.create_app,
        SolarSourceSettings,
        "/solar-status",
        "/solar/1.0.0",
        SolarStatus,
        "generation_kw,capacity_kwp",
        "30,50",
    ),
    "battery": Service(
        battery_service.app.create_app,
        BatterySourceSettings,
        "/battery-status",
        "/battery/1.0.0",
        BatteryStatus,
        "soc_percent,capacity_kwh",
        "83,100",
    ),
    "grid": Service(
        grid_service.app.create_app,
        GridSourceSettings,
        "/grid-load",
        "/grid/1.0.0",
        GridLoad,
        "load_percent,load_kw,limit_kw",
        "61,61,100",
        ("/grid-prices", "/grid-forecast"),
    ),
}


@pytest.fixture(params=SERVICES.values(), ids=list(SERVICES))
def service(request: pytest.FixtureRequest) -> Service:
    return request.param


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """An application made from the environment takes the process's log over; a test's log goes back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@asynccontextmanager
async def _client(app: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        yield client


async def test_a_simulated_reading_carries_everything_that_is_required(service: Service) -> None:
    async with service.client() as client:
        answer = await client.get(service.path)

    reading = service.model.model_validate_json(answer.text)
    assert (answer.status_code, reading.timestamp, reading.source) == (200, NOON, "simulated")
    assert reading.site_id == "greensboro"
    assert "source_time" not in answer.json()


async def test_same_seed_and_clock_give_the_same_answer_in_every_process(service: Service) -> None:
    answers = set[str]()
    for _ in range(2):
        async with service.client() as client:
            answers.add((await client.get(service.path)).text)

    assert len(answers) == 1


async def test_health_is_well_while_the_source_is(service: Service) -> None:
    async with service.client() as client:
        assert (await client.get("/health")).status_code == 200


async def test_a_recording_is_played_by_the_clock(service: Service, tmp_path: Path) -> None:
    settings = service.replaying(tmp_path / "day.csv", f"2026-06-25T15:45:00Z,{service.cells}")

    async with service.client(settings) as client:
        answer = await client.get(service.path)

    reading = service.model.model_validate_json(answer.text)
    assert (reading.timestamp, reading.source) == (NOON, "replay")
    assert reading.source_time == NOON - timedelta(minutes=15)
    assert service.cells.split(",")[0] in answer.text


@pytest.mark.parametrize(
    ("row_time", "reason"),
    [
        ("2026-06-25T14:59:59Z", "the recording is over"),
        ("1999-06-25T16:00:00Z", "the recording is over"),
        ("2026-06-25T16:00:01Z", "the recording begins at"),
        ("2099-06-25T16:00:00Z", "the recording begins at"),
    ],
)
async def test_old_and_future_rows_are_never_given_out_as_now(
    service: Service, tmp_path: Path, row_time: str, reason: str
) -> None:
    settings = service.replaying(tmp_path / "day.csv", f"{row_time},{service.cells}")

    async with service.client(settings) as client:
        answer, health, alive = [await client.get(path) for path in (service.path, "/health", "/livez")]

    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.json()["code"] == "source_exhausted"
    assert reason in answer.json()["detail"]
    assert (health.status_code, alive.status_code) == (503, 200)
    assert reason in health.json()["failing"]["source"]


async def test_a_recording_that_ends_turns_health_and_answer_with_the_clock(service: Service, tmp_path: Path) -> None:
    clock = SteppedClock(NOON)
    settings = service.replaying(tmp_path / "day.csv", f"2026-06-25T16:00:00Z,{service.cells}")

    async with service.client(settings, clock) as client:
        before = (await client.get(service.path)).status_code
        clock.advance(3601)
        after = [(await client.get(path)).status_code for path in (service.path, "/health")]

    assert (before, after) == (200, [503, 503])


async def test_with_a_twin_simulated_readings_come_from_it_and_from_nothing_else(service: Service) -> None:
    # Nobody answers there: whatever were made up in its place would show.
    given = service.settings()
    settings = ServiceSettings(given.source, SiteSettings(twin_url="http://127.0.0.1:1"), given.run)

    async with service.client(settings) as client:
        answer, health = await client.get(service.path), await client.get("/health")

    assert (answer.status_code, answer.json()["code"]) == (503, "source_unavailable")
    assert health.json()["failing"] == {"source": "the site twin does not answer"}


async def test_a_service_that_listens_to_a_device_starts_without_its_broker(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_URL", "mqtt://127.0.0.1:1")

    async with service.client(service.settings(source="mqtt")) as client:
        answers = {path: await client.get(path) for path in (service.path, "/health", "/livez", "/metrics")}

    assert [answer.status_code for answer in answers.values()] == [503, 503, 200, 200]
    assert "no reading of" in answers["/health"].json()["failing"]["source"]
    assert "mqtt_connected 0.0" in answers["/metrics"].text


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "", "true", "null", "1e999", "0x10"])
def test_a_recording_with_an_impossible_value_does_not_start(service: Service, tmp_path: Path, value: str) -> None:
    cells = ",".join([value, *service.cells.split(",")[1:]])
    settings = service.replaying(tmp_path / "day.csv", f"2026-06-25T16:00:00Z,{cells}")

    with pytest.raises(ConfigurationError, match=r"day\.csv has wrong rows: line 2: "):
        service.create_app(settings, SteppedClock(NOON))


@pytest.mark.parametrize("text", ["", "timestamp", "\n"])
def test_an_empty_recording_does_not_start(service: Service, tmp_path: Path, text: str) -> None:
    file = tmp_path / "day.csv"
    file.write_text(text)

    with pytest.raises(ConfigurationError, match=r"is empty|has no column"):
        service.create_app(service.settings(source="replay", replay_file=file), SteppedClock(NOON))


def test_replay_without_a_file_is_refused_by_the_variables_name(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = service.apicontext.split("/")[1].upper()
    monkeypatch.setenv(f"{prefix}_SOURCE", "replay")
    monkeypatch.setenv(f"{prefix}_REPLAY_FILE", "")  # empty counts as unset

    with pytest.raises(ConfigurationError, match=f"{prefix}_REPLAY_FILE must name a CSV file"):
        service.create_app(None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOLAR_CAPACITY_KWP", "-5"),
        ("SOLAR_CAPACITY_KWP", "nan"),
        ("SITE_LIMIT_KW", "0"),
        ("BATTERY_RESERVE_PERCENT", "101"),
        ("GRID_BUILDING_MEAN_KW", "much"),
        ("SITE_WEATHER_FILE", "/nowhere/weather.epw"),
        ("SITE_YIELD_FILE", "/nowhere/yield.csv"),
    ],
)
def test_a_wrong_setting_of_the_site_does_not_start(
    service: Service, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError):
        service.create_app(None, None)


@pytest.mark.parametrize(
    ("method", "suffix", "status"),
    [
        ("POST", "", 405),
        ("DELETE", "", 405),
        ("GET", "/extra", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "%00", 404),
    ],
)
async def test_garbage_gets_problem_json(service: Service, method: str, suffix: str, status: int) -> None:
    async with service.client() as client:
        answer = await client.request(method, service.path + suffix, content=b"\xff\x00")

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json().keys() == {"type", "title", "status", "detail", "code", "correlation_id"}


async def test_query_parameters_change_nothing(service: Service) -> None:
    async with service.client() as client:
        plain = await client.get(service.path)
        asked = await client.get(service.path, params={"timestamp": "1999-01-01", "x": "\0' OR 1=1 --"})

    assert asked.json() == plain.json()


async def test_a_direct_call_is_refused_where_the_gateways_certificate_is_set(service: Service, tmp_path: Path) -> None:
    key, certificate = _signing_pair(tmp_path)
    settings = service.settings(RunSettings(gateway_cert_file=certificate))

    async with service.client(settings) as client:
        direct = await client.get(service.path)
        mine = await client.get(service.path, headers={"X-JWT-Assertion": _assertion(key, service.apicontext)})
        other = await client.get(service.path, headers={"X-JWT-Assertion": _assertion(key, "/other/1.0.0")})
        health = await client.get("/health")

    assert [direct.status_code, mine.status_code, other.status_code, health.status_code] == [401, 200, 401, 200]


async def test_the_answer_is_described_for_agents_and_people(service: Service) -> None:
    document = build_published_definition(service.create_app(service.settings(), SteppedClock(NOON)))

    assert list(document["paths"]) == [service.path, "/history", *service.further_paths]
    operation = document["paths"][service.path]["get"]
    assert {"operationId", "summary", "description"} <= operation.keys()
    fields = document["components"]["schemas"][service.model.__name__]["properties"]
    assert all("description" in field for field in fields.values())


def _signing_pair(folder: Path) -> tuple[RSAKey, Path]:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(NOON - timedelta(days=1))
        .not_valid_after(NOON + timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    file = folder / "gateway.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return RSAKey.import_key(pem), file


def _assertion(key: RSAKey, apicontext: str) -> str:
    claims = {
        "iss": ISSUER,
        "exp": int((NOON + timedelta(minutes=15)).timestamp()),
        CONTEXT_CLAIM: apicontext,
    }
    return jwt.encode({"alg": "RS256"}, claims, key)


def keeping(service: Service, folder: Path) -> ServiceSettings:
    return replace(service.settings(), history=HistorySettings(dir=folder))


async def wait_for_history(client: httpx.AsyncClient, query: str = "") -> httpx.Response:
    while not (answer := await client.get(f"/history{query}")).json().get("intervals"):
        await asyncio.sleep(0.01)
    return answer


async def test_what_a_service_answered_is_answered_as_history(service: Service, tmp_path: Path) -> None:
    async with service.client(keeping(service, tmp_path)) as client:
        reading = (await client.get(service.path)).json()
        answer = await wait_for_history(client, "?resolution_s=60")
        health, metrics = await client.get("/health"), await client.get("/metrics")

    history = answer.json()
    (interval,) = history["intervals"]
    field = service.columns.split(",")[0]
    assert interval["interval_start"] == "2026-06-25T16:00:00Z"
    assert interval["values"][field] == {
        "mean": pytest.approx(reading[field]), "minimum": reading[field], "maximum": reading[field], "count": 1,
    }  # fmt: skip
    assert (history["site_id"], history["source"], history["resolution_s"]) == ("greensboro", "simulated", 60)
    assert (history["start"], history["end"]) == ("2026-06-24T16:00:00Z", "2026-06-25T16:01:00Z")
    assert health.json().get("warnings") is None
    assert "history_values_total" in metrics.text


async def test_history_is_kept_over_a_restart(service: Service, tmp_path: Path) -> None:
    async with service.client(keeping(service, tmp_path)) as client:
        await wait_for_history(client)
    clock = SteppedClock(NOON + timedelta(hours=2))
    async with service.client(keeping(service, tmp_path), clock) as client:
        answer = await wait_for_history(client, "?from=2026-06-25T16:00:00Z&to=2026-06-25T17:00:00Z&resolution=1h")

    assert [one["interval_start"] for one in answer.json()["intervals"]] == ["2026-06-25T16:00:00Z"]


async def test_a_service_without_a_place_for_history_says_so(service: Service) -> None:
    async with service.client() as client:
        answer = await client.get("/history")

    assert (answer.status_code, answer.json()["code"]) == (404, "history_not_kept")


@pytest.mark.parametrize(
    ("query", "code", "detail"),
    [
        ("from=2026-06-25T17:00:00Z", "invalid_request", "is in the future; it is 2026-06-25T16:00:00Z"),
        ("from=2026-06-25T12:00:00Z&to=2026-06-25T11:00:00Z", "invalid_request", "from: must be earlier than to"),
        ("from=2026-06-25T12:00:00Z&to=2026-06-25T12:00:00Z", "invalid_request", "from: must be earlier than to"),
        ("from=2026-06-25T12:00:00", "invalid_request", "query.from: Input should have timezone info"),
        ("from=yesterday", "invalid_request", "query.from: "),
        ("resolution_s=7", "invalid_request", "query.resolution_s: "),
        ("resolution_s=1000", "invalid_request", "a day a multiple of it, such as 900 or 3600"),
        ("resolution=soon", "invalid_request", "such as 15min, 1h or 1d"),
        ("resolution=1h&resolution_s=900", "invalid_request", "differ"),
        ("form=2026-06-25T12:00:00Z", "invalid_request", "query.form: Extra inputs are not permitted"),
        ("from=2026-06-01T00:00:00Z&resolution_s=60", "history_too_long", "ask for a resolution_s of at least 1800"),
        ("from=0001-01-01T00:00:00Z&resolution_s=86400", "history_too_long", "ask for a shorter time"),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_the_reason(
    service: Service, tmp_path: Path, query: str, code: str, detail: str
) -> None:
    async with service.client(keeping(service, tmp_path)) as client:
        answer = await client.get(f"/history?{query}")

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["code"] == code
    assert detail in answer.json()["detail"]


async def test_readings_go_on_when_history_cannot_be_kept_and_health_warns(service: Service, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where the folder should be")

    async with service.client(keeping(service, tmp_path / "file")) as client:
        while "warnings" not in (health := await client.get("/health")).json():
            await asyncio.sleep(0.01)
        reading, history = await client.get(service.path), await client.get("/history")

    assert (reading.status_code, health.status_code) == (200, 200)
    assert "readings are not kept" in health.json()["warnings"]["history"]
    assert (history.status_code, history.json()["code"]) == (503, "history_unavailable")
