"""Who is let in, and what becomes of connections."""

import asyncio
import json
import ssl
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from charger_service.ocpp.security import Passwords, identity
from charger_service.ports import CommandStatus, TransactionLimit
from ev_service.errors import ConfigurationError

pytestmark = pytest.mark.anyio
PASSWORD = "correct horse"


async def refused_with(site: Any, path: str, headers: dict[str, str]) -> int:
    with pytest.raises(InvalidStatus) as refused:
        await connect(site.url(path), subprotocols=[Subprotocol("ocpp1.6")], additional_headers=headers)
    return refused.value.response.status_code


def authorization(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


async def test_an_unknown_charger_is_refused_at_the_handshake_with_404(site: Any) -> None:
    assert await refused_with(site, "CP-99", authorization("CP-99", "correct horse")) == 404
    assert await refused_with(site, "", {}) == 404
    assert await refused_with(site, "sub/CP-16", authorization("CP-16", "correct horse")) == 404
    assert site.counted("ocpp_refused_handshakes_total", reason="unknown_charger") == 3


async def test_a_wrong_password_is_refused_with_401(site: Any) -> None:
    assert await refused_with(site, "CP-16", authorization("CP-16", "wrong")) == 401
    assert await refused_with(site, "CP-16", authorization("CP-201", "correct horse")) == 401
    assert await refused_with(site, "CP-16", {"Authorization": "Basic %%%"}) == 401
    assert await refused_with(site, "CP-16", {"Authorization": "Bearer x"}) == 401
    assert await refused_with(site, "CP-16", {}) == 401
    assert site.counted("ocpp_refused_handshakes_total", reason="wrong_password") == 5
    assert site.heard.events == []


async def test_a_refusal_says_nothing_of_the_password(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    await refused_with(site, "CP-16", authorization("CP-16", "wrong-secret"))

    said = [record.getMessage() + str(record.__dict__) for record in caplog.records if "charger" in record.name]
    assert said
    assert not [text for text in said if "wrong-secret" in text or "d3Jvbmct" in text]


async def test_the_subprotocol_decides_which_version_is_spoken(site: Any) -> None:
    await site.connect("CP-16", version="1.6")
    await site.connect("CP-201", version="2.0.1")

    await site.heard.until("connect", "CP-16", "1.6")
    await site.heard.until("connect", "CP-201", "2.0.1")
    assert site.central.is_connected("CP-16")


async def test_without_a_version_in_common_the_handshake_is_completed_and_then_closed(site: Any) -> None:
    headers = authorization("CP-16", "correct horse")
    websocket = await connect(site.url("CP-16"), subprotocols=[Subprotocol("ocpp1.5")], additional_headers=headers)
    await websocket.wait_closed()

    assert websocket.subprotocol is None
    assert websocket.close_code == 1002
    assert site.heard.events == []


async def test_an_identity_may_hold_a_colon(site: Any) -> None:
    await site.connect("CP:colon")

    await site.heard.until("connect", "CP:colon", "1.6")


async def test_the_newer_of_two_connections_wins(site: Any) -> None:
    older = await site.booted("CP-16")
    newer = await site.connect("CP-16")

    assert await older.closed() == 1008
    await newer.boot()
    kinds = [report[0] for report in site.heard.events if report[0] in ("connect", "disconnect")]
    assert kinds == ["connect", "disconnect", "connect"]
    reply = await site.central.reset("CP-16")
    assert reply.answer is CommandStatus.ACCEPTED
    assert newer.asked_for("Reset") == [{"type": "Soft"}]
    assert older.asked_for("Reset") == []
    assert site.central.is_connected("CP-16")


async def test_the_older_connection_is_not_heard_any_more(site: Any) -> None:
    older = await site.booted("CP-16")
    older.websocket.transport.pause_reading()
    newer = await site.connect("CP-16")
    await site.heard.until("disconnect", "CP-16")

    await older.websocket.send(json.dumps([2, "late", "StatusNotification", {}]))
    status = {"connectorId": 1, "errorCode": "NoError", "status": "Faulted"}
    await older.websocket.send(json.dumps([2, "late", "StatusNotification", status]))
    await newer.boot()

    assert site.heard.of("evse") == []
    older.websocket.transport.abort()


async def test_a_charger_that_goes_away_is_reported_and_no_longer_asked(site: Any) -> None:
    charger = await site.booted("CP-16")
    await charger.hang_up()
    await site.heard.until("disconnect", "CP-16")

    reply = await site.central.set_limit("CP-16", TransactionLimit(1, "1", 10, site.clock.now()))
    assert reply.answer is CommandStatus.NOT_CONNECTED
    assert site.central.last_seen("CP-16") == site.clock.now()
    assert site.central.last_seen("CP-201") is None
    assert site.counted("ocpp_connected_chargers", ocpp_version="1.6") == 0


@pytest.mark.parametrize(
    "frame",
    ["{", "[]", "[2]", '[2,"a"]', '[9,"a","Heartbeat",{}]', '[2,7,"Heartbeat",{}]', '[2,"a",["x"],{}]',
     "[" * 60_000, '"text"', "\udcff".encode(errors="surrogateescape"), '[2,"a","Heartbeat",{},1,2,3]'],
)  # fmt: skip
async def test_malformed_frames_are_counted_and_the_charger_goes_on(site: Any, frame: str | bytes) -> None:
    charger = await site.connect("CP-16")
    await charger.websocket.send(frame)

    assert "currentTime" in await charger.call("Heartbeat", {})
    assert site.counted("ocpp_malformed_messages_total") == 1


@pytest.mark.parametrize(("charger_id", "code"), [("CP-16", "FormationViolation"), ("CP-201", "FormatViolation")])
async def test_broken_json_in_every_message_is_refused_and_the_connection_stays(
    site: Any, caplog: pytest.LogCaptureFixture, charger_id: str, code: str
) -> None:
    charger = await site.connect(charger_id)

    answers = [
        await charger.raw_text(f"b{number}", f'[2,"b{number}","MeterValues",{{"connectorId":1,"transactionId":,}}]')
        for number in range(30)
    ]

    assert {answer[2] for answer in answers} == {code}
    assert (await charger.boot())["status"] == "Accepted"
    (line,) = [record for record in caplog.records if record.message == "a message of a charger cannot be read"]
    assert vars(line)["charger_id"] == charger_id


async def test_the_stop_transaction_of_a_long_session_is_taken(site: Any) -> None:
    charger = await site.booted("CP-16")
    started = {"connectorId": 1, "idTag": "x", "meterStart": 0, "timestamp": "2026-06-21T12:00:00Z"}
    number = (await charger.call("StartTransaction", started))["transactionId"]
    sample = {"value": "16", "measurand": "Current.Import", "phase": "L1", "unit": "A"}
    data = [{"timestamp": "2026-06-21T12:00:00Z", "sampledValue": [sample] * 4}] * 2_200
    stopped = {"transactionId": number, "meterStop": 9, "timestamp": "2026-06-21T13:00:00Z", "transactionData": data}
    assert len(json.dumps(stopped)) > 700_000

    assert "currentTime" not in await charger.call("StopTransaction", stopped)
    assert "currentTime" in await charger.call("Heartbeat", {})
    assert site.heard.of("ended")


async def test_parts_of_messages_that_all_chargers_hold_together_are_bounded(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charger_service.ocpp.server.MOST_UNREAD_BYTES", 500_000)
    patient, greedy = await site.connect("CP-201"), await site.connect("CP-16")
    # The header of a text frame of 900,000 bytes, masked with zeros, and a part of it.
    header = bytes([0x81, 0xFF]) + (900_000).to_bytes(8, "big") + bytes(4)
    greedy.websocket.transport.write(header + b"x" * 600_000)

    assert await greedy.closed() in (1006, 1009)
    assert (await patient.boot())["status"] == "Accepted"


async def test_a_charger_that_answers_no_ping_but_speaks_stays(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charger_service.ocpp.server._SILENT_WITHOUT_PONG_S", 0.5)
    charger = await site.connect("CP-16")
    for _ in range(10):
        assert "currentTime" in await charger.call("Heartbeat", {})
        await asyncio.sleep(0.1)

    assert await charger.closed() == 1011
    await site.heard.until("disconnect", "CP-16")


@pytest.mark.parametrize("path", ["CP-16", "CP-16/", "ocpp/CP-16", "ocpp/CP-16/"])
async def test_chargers_connect_below_a_path_and_without_it(open_site: Any, path: str) -> None:
    site = await open_site(ocpp_path="/ocpp/")
    websocket = await connect(
        site.url(path), subprotocols=[Subprotocol("ocpp1.6")], additional_headers=authorization("CP-16", PASSWORD)
    )
    await site.heard.until("connect", "CP-16", "1.6")
    await websocket.close()


async def test_refusals_of_one_address_are_logged_once_a_minute(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(5):
        await refused_with(site, f"CP-{number + 50}", authorization("CP-16", "wrong"))

    lines = [vars(record) for record in caplog.records if record.message == "a charger was refused"]
    assert [(line["address"], line["path"], line["reason"]) for line in lines] == [
        ("127.0.0.1", "/CP-50", "unknown_charger")
    ]


async def test_an_oversized_frame_ends_the_connection_that_sent_it_and_no_other(site: Any) -> None:
    other = await site.connect("CP-201")
    charger = await site.connect("CP-16")
    await charger.websocket.send(json.dumps([2, "a", "DataTransfer", {"vendorId": "x", "data": "y" * 1_100_000}]))

    assert await charger.closed() == 1009
    assert (await other.boot())["status"] == "Accepted"


@pytest.mark.parametrize(
    ("action", "payload", "code"),
    [
        ("Heartbeat", [1], "TypeConstraintViolation"),
        ("StatusNotification", {"errorCode": "NoError", "status": "Faulted"}, "ProtocolError"),
        ("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Dancing"}, "FormatViolation"),
        ("NoSuchAction", {}, "NotSupported"),
        ("ReserveNow", {}, "NotImplemented"),
    ],
)
async def test_what_breaks_the_schema_is_answered_with_an_error(
    site: Any, action: str, payload: Any, code: str
) -> None:
    charger = await site.connect("CP-16")

    answer = await charger.raw_call(action, payload)

    assert answer[0] == 4
    assert answer[2] == code
    assert "currentTime" in await charger.call("Heartbeat", {})


async def test_a_report_that_can_not_be_kept_is_answered_with_an_error_and_logged_without_the_token(
    site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    charger = await site.connect("CP-16")
    site.heard.fails_with = OSError("disk full")
    start = {"connectorId": 1, "idTag": "DRIVER-TOKEN", "meterStart": 0, "timestamp": "2026-06-21T12:00:00Z"}

    answer = await charger.raw_call("StartTransaction", start)

    assert answer[2] == "InternalError"
    assert "an OCPP message could not be handled" in caplog.messages
    assert "DRIVER-TOKEN" not in caplog.text


async def test_answers_that_nobody_waits_for_are_dropped(site: Any) -> None:
    charger = await site.connect("CP-16")
    for _ in range(20):
        await charger.websocket.send('[3,"nobody",{}]')
        await charger.websocket.send('[4,"nobody","InternalError","",{}]')

    assert "currentTime" in await charger.call("Heartbeat", {})


async def test_a_hundred_chargers_connect_again_after_a_restart(open_site: Any) -> None:
    evses = {f"CP-{number}": (1,) for number in range(100)}
    site = await open_site(evses)

    chargers = await asyncio.gather(*(site.connect(charger_id) for charger_id in evses))
    await asyncio.gather(*(charger.boot() for charger in chargers))

    async with asyncio.timeout(20):
        while len(site.heard.of("ready")) < 100:
            await asyncio.sleep(0.01)
    assert {report[0] for report in site.heard.of("connect")} == set(evses)
    assert site.counted("ocpp_connected_chargers", ocpp_version="1.6") == 100


async def test_profile_2_speaks_tls_with_the_certificate_of_the_file(
    open_site: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="charger_service")
    certificate, key = write_certificate(tmp_path)
    await open_site(ocpp_tls_port=0, tls_cert_file=certificate, tls_key_file=key)
    port = next(vars(record)["tls_port"] for record in caplog.records if "tls_port" in vars(record))

    websocket = await connect(
        f"wss://127.0.0.1:{port}/CP-16",
        subprotocols=[Subprotocol("ocpp1.6")],
        additional_headers=authorization("CP-16", "correct horse"),
        ssl=ssl.create_default_context(cafile=certificate),
    )
    assert websocket.subprotocol == "ocpp1.6"
    await websocket.close()


async def test_a_renewed_certificate_is_shown_to_the_next_charger_and_a_broken_one_is_not(
    open_site: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="charger_service")
    certificate, key = write_certificate(tmp_path)
    site = await open_site(ocpp_tls_port=0, tls_cert_file=certificate, tls_key_file=key)
    port = next(vars(record)["tls_port"] for record in caplog.records if "tls_port" in vars(record))
    first = await shown_certificate(port)

    write_certificate(tmp_path, days=90)
    second = await shown_certificate(port)
    certificate.write_text("half a certificate")
    third = await shown_certificate(port)

    assert first != second
    assert second == third
    assert "cannot be used" in (site.central.metrics.certificate.health_error() or "")
    assert site.counted("ocpp_certificate_days") == pytest.approx(90, abs=1)


async def test_a_certificate_that_ends_soon_or_has_ended_is_told(open_site: Any, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, days=3)
    site = await open_site(ocpp_tls_port=0, tls_cert_file=certificate, tls_key_file=key)
    shown = site.central.metrics.certificate

    assert shown.health_error() is None
    assert "expires in 3 days" in shown.warning()
    write_certificate(tmp_path, days=-2)
    assert "expired 2 days ago" in shown.health_error()


@pytest.mark.parametrize(("is_set", "is_let_in"), [(True, True), (False, False)])
async def test_stations_with_static_rsa_suites_alone_are_let_in_by_setting(
    open_site: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, is_set: bool, is_let_in: bool
) -> None:
    caplog.set_level("INFO", logger="charger_service")
    certificate, key = write_certificate(tmp_path, private_key=rsa.generate_private_key(65537, 2048))
    await open_site(ocpp_tls_port=0, tls_cert_file=certificate, tls_key_file=key, tls_static_rsa=is_set)
    port = next(vars(record)["tls_port"] for record in caplog.records if "tls_port" in vars(record))
    context = ssl.create_default_context(cafile=certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-GCM-SHA256")

    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.close()
        was_let_in = True
    except (ssl.SSLError, ConnectionError):
        was_let_in = False

    assert was_let_in is is_let_in
    assert ("cipher suites without forward secrecy" in caplog.text) is is_set


async def test_a_certificate_that_can_not_be_used_stops_the_start(open_site: Any, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate")

    with pytest.raises(ConfigurationError, match="CHARGERS_TLS_CERT_FILE"):
        await open_site(tls_cert_file=tmp_path / "no.pem", tls_key_file=tmp_path / "no.pem")


async def test_a_port_that_is_taken_stops_the_start(open_site: Any, site: Any) -> None:
    with pytest.raises(ConfigurationError, match="for chargers cannot be opened"):
        await open_site(port=site.port)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/CP-1", "CP-1"),
        ("/CP%3A1", "CP:1"),
        ("/CP-1?x=1", "CP-1"),
        ("/", None),
        ("/a/CP-1", None),
        ("", None),
        ("/CP-1/", "CP-1"),
        ("//", None),
        ("/CP-1//", None),
    ],
)
def test_the_path_names_the_charger(path: str, named: str | None) -> None:
    assert identity(path) == named


def test_a_password_may_be_any_bytes() -> None:
    passwords = Passwords({"CP-1": "8dd8ea6ffb7d1f3ae6d8b6e4a7ba7c10a6e7a8d5b0b7bdf35b7e1e1c7a5a7f3b"})

    assert not passwords.accepts("CP-1", "Basic " + b64encode(b"CP-1:\xff\x00:").decode())


def test_a_hash_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        Passwords({"CP-1": "abcd"})


async def shown_certificate(port: int) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return shown


def write_certificate(
    folder: Path, days: float = 1, private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None
) -> tuple[Path, Path]:
    key = private_key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "central system")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    unencrypted = serialization.NoEncryption()
    encoded = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
    (folder / "key.pem").write_bytes(encoded)
    return folder / "cert.pem", folder / "key.pem"
