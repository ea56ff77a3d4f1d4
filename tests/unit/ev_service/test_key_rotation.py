"""The gateway's key and its authority change while services and clients run."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from joserfc import jwt
from joserfc.jwk import RSAKey

from ev_service.assertion import CONTEXT_CLAIM, HEADER, ISSUER, GatewayAssertion
from ev_service.certificates import Pair, Server, make_servers, make_signing
from ev_service.clock import SteppedClock
from ev_service.errors import AssertionRefusedError, ConfigurationError
from ev_service.key_files import pem
from ev_service.trust import Authorities
from ev_service.web import create_service, through_gateway

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
SOLAR = "/solar/1.0.0"
REFUSED = "its signature matches no certificate in GATEWAY_CERT_FILE, which holds"


@pytest.fixture(scope="module")
def pairs() -> tuple[Pair, Pair, Pair]:
    former, current, following = (make_signing(f"key {number}", datetime.now(UTC)) for number in range(3))
    return former, current, following


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(NOON)


@pytest.fixture
def file(tmp_path: Path, pairs: tuple[Pair, ...]) -> Path:
    file = tmp_path / "gateway-signing.pem"
    file.write_bytes(pem(pairs[0].certificate))
    return file


@pytest.fixture
def assertion(file: Path, clock: SteppedClock) -> GatewayAssertion:
    return GatewayAssertion.from_file(file, clock)


def sign_claims(pair: Pair, jti: str = "1", **changes: object) -> str:
    claims = {"iss": ISSUER, "exp": int(NOON.timestamp()) + 900, CONTEXT_CLAIM: SOLAR, "jti": jti} | changes
    assert isinstance(pair.key, RSAPrivateKey)
    return jwt.encode({"alg": "RS256"}, claims, RSAKey.import_key(pair.key))


def is_accepted(assertion: GatewayAssertion, token: str) -> bool:
    try:
        assertion.verify(token, SOLAR)
    except AssertionRefusedError:
        return False
    return True


def test_every_certificate_of_the_file_counts_in_any_order(
    file: Path, pairs: tuple[Pair, ...], clock: SteppedClock
) -> None:
    for order in (pairs[:2], pairs[1::-1]):
        file.write_bytes(b"# two keys, f\xc3\xbcr kurze Zeit\n" + pem(*(pair.certificate for pair in order)))
        assertion = GatewayAssertion.from_file(file, clock)

        assert [is_accepted(assertion, sign_claims(pair)) for pair in pairs] == [True, True, False]


def test_a_key_changes_in_three_steps_without_one_refusal(
    assertion: GatewayAssertion, file: Path, pairs: tuple[Pair, ...]
) -> None:
    former, current, _ = pairs
    assert is_accepted(assertion, sign_claims(former))
    file.write_bytes(pem(former.certificate, current.certificate))
    assert is_accepted(assertion, sign_claims(former))
    assert is_accepted(assertion, sign_claims(current))
    file.write_bytes(pem(current.certificate))

    assert is_accepted(assertion, sign_claims(current))
    assert assertion.warnings() == {"assertion": None, "certificates": None}
    # Also one that was accepted before, and would be remembered until it expires.
    assert not is_accepted(assertion, sign_claims(former))


@pytest.mark.parametrize("broken", ["half", "none", "empty", "other", "missing"])
def test_a_file_that_is_being_written_or_broken_changes_nothing_and_is_told(
    assertion: GatewayAssertion, file: Path, pairs: tuple[Pair, ...], broken: str
) -> None:
    whole = pem(pairs[0].certificate, pairs[1].certificate)
    other, _ = make_servers("other", [Server("other", ["other"])], datetime.now(UTC))
    contents = {"half": whole[:-200], "none": b"no certificate", "empty": b"", "other": whole + pem(other)}
    if broken == "missing":
        file.unlink()
    else:
        file.write_bytes(contents[broken])

    assert is_accepted(assertion, sign_claims(pairs[0]))
    assert str(assertion.warnings()["certificates"]).startswith(f"GATEWAY_CERT_FILE {file} cannot be used: ")

    file.write_bytes(whole)

    assert is_accepted(assertion, sign_claims(pairs[1]))
    assert assertion.warnings() == {"assertion": None, "certificates": None}


@pytest.mark.parametrize("cut", [-1, -30, -200, 700])
def test_a_file_that_is_cut_off_is_not_taken_for_a_whole_one(
    file: Path, pairs: tuple[Pair, ...], clock: SteppedClock, cut: int
) -> None:
    whole = pem(pairs[0].certificate, pairs[1].certificate)
    file.write_bytes(whole[:cut].rstrip(b"-") if cut == -1 else whole[:cut])

    with pytest.raises(ConfigurationError, match="GATEWAY_CERT_FILE"):
        GatewayAssertion.from_file(file, clock)


def test_refusals_are_told_with_their_reason_until_five_minutes_after_the_last(
    assertion: GatewayAssertion, pairs: tuple[Pair, ...], clock: SteppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert not is_accepted(assertion, sign_claims(pairs[1]))
        clock.advance(60)

    told = assertion.warnings()["assertion"]
    assert told == f"refused 3 calls since 2026-06-21T12:00:00Z, the last at 2026-06-21T12:02:00Z: {REFUSED} 1"
    assert [record.message for record in caplog.records] == ["assertion refused"]
    clock.advance(300)
    assert assertion.warnings()["assertion"] is None


def test_each_kind_of_refusal_has_its_reason(
    assertion: GatewayAssertion, pairs: tuple[Pair, ...], clock: SteppedClock
) -> None:
    reasons: list[str] = []
    clock.advance(10)
    for token in (
        "x.y.z",
        sign_claims(pairs[0], exp=int(NOON.timestamp())),
        sign_claims(pairs[0], iss="nobody"),
        sign_claims(pairs[0], **{CONTEXT_CLAIM: "/grid/1.0.0"}),
    ):
        assert not is_accepted(assertion, token)
        reasons.append(str(assertion.warnings()["assertion"]).partition("Z: ")[2])

    assert reasons == [
        "it is no assertion as the gateway makes them",
        "the gateway's assertion has expired",
        "the assertion was not issued by the gateway",
        "the gateway's assertion was made for another API",
    ]


def test_a_call_without_any_assertion_is_not_told(assertion: GatewayAssertion) -> None:
    for absent in (None, ""):
        with pytest.raises(AssertionRefusedError):
            assertion.verify(absent, SOLAR)

    assert assertion.warnings()["assertion"] is None


@pytest.mark.anyio
async def test_health_tells_of_refusals_and_of_the_file_and_stays_200(
    assertion: GatewayAssertion, file: Path, pairs: tuple[Pair, ...], clock: SteppedClock
) -> None:
    async def well() -> dict[str, str | None]:
        return {"source": None}

    app = create_service(name="solar", description="For the test.", clock=clock, health=well, assertion=assertion)
    app.add_api_route("/ok", lambda: {"ok": True}, dependencies=[through_gateway(SOLAR)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://solar.test") as client:
        before = await client.get("/health")
        answer = await client.get("/ok", headers={HEADER: sign_claims(pairs[1])})
        file.unlink()
        after = await client.get("/health")

    assert "warnings" not in before.json()
    assert (answer.status_code, answer.json()["code"]) == (401, "assertion_refused")
    # Whoever reaches the service past the gateway can have an assertion refused, and must not take it out of service.
    assert (after.status_code, after.json()["status"]) == (200, "ok")
    assert REFUSED in after.json()["warnings"]["assertion"]
    assert "No such file" in after.json()["warnings"]["certificates"]


def authorities_in(context: ssl.SSLContext) -> set[str]:
    # Of the file alone: the system's are read when they are needed, or have other names.
    subjects = ("".join(value for ((_, value),) in entry["subject"]) for entry in context.get_ca_certs())  # type: ignore[misc]
    return {name for name in subjects if name.startswith("rotation")}


def authority(name: str) -> bytes:
    certificate, _ = make_servers(name, [Server("gateway", ["localhost"])], datetime.now(UTC))
    return pem(certificate)


def test_a_clients_authorities_follow_the_file(tmp_path: Path) -> None:
    file, former, current = tmp_path / "ca.pem", authority("rotation 1"), authority("rotation 2")
    file.write_bytes(former)
    authorities = Authorities(file, "WSO2_CA_FILE")
    first = authorities.context()

    file.write_bytes("# F\u0151tan\u00fas\u00edtv\u00e1ny\n".encode() + former + current)
    both = authorities.context()
    file.write_bytes(current)
    last = authorities.context()

    assert [authorities_in(each) for each in (first, both, last)] == [
        {"rotation 1"},
        {"rotation 1", "rotation 2"},
        {"rotation 2"},
    ]
    assert authorities.context() is last
    assert last.verify_mode is ssl.CERT_REQUIRED
    assert last.check_hostname


@pytest.mark.parametrize("broken", ["half", "garbage", "empty", "missing"])
def test_authorities_that_cannot_be_used_change_nothing_and_are_told(tmp_path: Path, broken: str) -> None:
    file, former = tmp_path / "ca.pem", authority("rotation 1")
    file.write_bytes(former)
    authorities = Authorities(file, "WSO2_CA_FILE")
    first = authorities.context()
    if broken == "missing":
        file.unlink()
    else:
        file.write_bytes({"half": former + former[:-100], "garbage": b"no PEM", "empty": b""}[broken])

    assert authorities.context() is first
    assert str(authorities.read_error()).startswith(f"WSO2_CA_FILE {file} cannot be used: ")

    file.write_bytes(former)

    assert authorities.context() is first
    assert authorities.read_error() is None


def test_without_a_file_the_systems_authorities_are_trusted() -> None:
    authorities = Authorities(None, "WSO2_CA_FILE")

    assert authorities.context() is authorities.context()
    assert authorities.read_error() is None
