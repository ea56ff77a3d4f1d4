"""The parts of the verification that need no WSO2: rows, words, the metrics log, the backend that remembers."""

import base64
import json
from typing import NoReturn

import httpx
import pytest
from pydantic import SecretStr

from ev_service.errors import ConfigurationError
from wso2_provisioning.errors import RequestRefusedError
from wso2_provisioning.verification.cli import main
from wso2_provisioning.verification.echo import run_echo_backend
from wso2_provisioning.verification.evidence_rows import parse_lines
from wso2_provisioning.verification.formatting import (
    compare_with_fault,
    decode_jwt,
    describe_access,
    format_documented_fault,
    parse_body,
)
from wso2_provisioning.verification.refusal_rows import forge_signature
from wso2_provisioning.verification.rows import Observation, Row, RowSkippedError, RowState, check_row
from wso2_terms import codes


def fails(error: Exception) -> NoReturn:
    raise error


def test_a_row_holds_when_what_is_seen_is_what_is_expected() -> None:
    result = check_row(Row("readiness", "gateway", "200", lambda: Observation("200", "3 s")))

    assert (result.state, result.observed, result.measured) == (RowState.HOLDS, "200", "3 s")
    assert check_row(Row("readiness", "gateway", "200", lambda: Observation("500"))).state is RowState.DIFFERS


@pytest.mark.parametrize(
    ("error", "state", "observed"),
    [
        (RowSkippedError("needs --metrics-log"), RowState.NOT_TRIED, "needs --metrics-log"),
        (RequestRefusedError("POST /apis was refused", status=403), RowState.DIFFERS, "failed: POST /apis was refused"),
        (KeyError("access_token"), RowState.DIFFERS, "failed: KeyError"),
    ],
)
def test_what_goes_wrong_in_a_row_ends_that_row_alone(error: Exception, state: RowState, observed: str) -> None:
    result = check_row(Row("any", "gateway", "200", lambda: fails(error)))

    assert (result.state, result.observed) == (state, observed)


def test_an_answer_is_as_documented_only_word_for_word() -> None:
    fault = codes.SCOPE_MISSING
    body = fault.body(resource="/solar-status")

    same = compare_with_fault(httpx.Response(403, json=body), fault, resource="/solar-status")
    other = compare_with_fault(httpx.Response(403, json=body | {"message": "No"}), fault, resource="/solar-status")

    assert same.text == format_documented_fault(fault)
    assert other.text != format_documented_fault(fault)
    assert '"message": "No"' in other.text


def test_a_used_up_quota_counts_as_let_through_and_a_block_does_not() -> None:
    assert describe_access(httpx.Response(429, json={"code": "900804"})) == "let through"
    assert describe_access(httpx.Response(401, json={"code": "900907"})) == "401 900907"


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"null"])
def test_a_body_that_is_no_object_is_told_as_none(content: bytes) -> None:
    assert parse_body(httpx.Response(500, content=content)) == {}


def segment(value: object, alphabet: bytes) -> str:
    return base64.b64encode(json.dumps(value).encode(), altchars=alphabet).decode().rstrip("=")


@pytest.mark.parametrize("alphabet", [b"-_", b"+/"])
def test_a_jwt_is_read_in_either_alphabet(alphabet: bytes) -> None:
    claims = {"sub": "???>>>~~~"}

    read = decode_jwt(f"{segment({'alg': 'RS256'}, alphabet)}.{segment(claims, alphabet)}.c2ln")

    assert read == ({"alg": "RS256"}, claims)


def test_a_forged_token_differs_in_its_signature_alone() -> None:
    for signature in ("Abcd", "Bbcd"):
        token = forge_signature(SecretStr(f"header.claims.{signature}")).get_secret_value()

        assert token.rpartition(".")[0] == "header.claims"
        assert token.rpartition(".")[2] != signature
        assert token.endswith("bcd")


def test_lines_of_the_metrics_log_are_read_whatever_stands_around_them() -> None:
    text = "\n".join(
        (
            "12:00:00,000 [10.0.0.1-wso2am] [t-1]  INFO ELKCounterMetric apimMetrics: apim:response, "
            'properties :{"applicationName": "EVApp", "properties": {"a": 1}}',
            "something else",
            'INFO ELKCounterMetric apimMetrics: apim:faulty, properties :{"errorCode": 900804}',
            "INFO ELKCounterMetric apimMetrics: apim:faulty, properties :{cut off",
        )
    )

    assert [(kind, sorted(line)) for kind, line in parse_lines(text)] == [
        ("response", ["applicationName", "properties"]),
        ("faulty", ["errorCode"]),
    ]


def test_the_backend_remembers_path_and_headers_of_the_last_call() -> None:
    with run_echo_backend("127.0.0.1", 0) as echo:
        url = f"http://127.0.0.1:{echo.port}/notes/a%20b?text=a%26b%3Dc"
        answer = httpx.get(url, headers={"X-JWT-Assertion": "abc"}, trust_env=False)

    assert answer.status_code == 200
    assert echo.path == "/notes/a%20b?text=a%26b%3Dc"
    assert echo.headers["x-jwt-assertion"] == "abc"


def test_a_port_that_is_taken_is_said() -> None:
    with (
        run_echo_backend("127.0.0.1", 0) as echo,
        pytest.raises(ConfigurationError, match=str(echo.port)),
        run_echo_backend("127.0.0.1", echo.port),
    ):
        pass


@pytest.mark.parametrize("url", ["https://localhost:1", "localhost:1", "http://"])
def test_an_echo_address_that_makes_no_sense_is_wrong_usage(url: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--artifacts", "wso2", "--echo-url", url])

    assert ended.value.code == 2


def test_help_says_what_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])

    said = capsys.readouterr().out
    for name in ("--artifacts", "--metrics-log", "--echo-url", "--json", "exit code", "GATEWAY_CERT_FILE"):
        assert name in said


def test_a_missing_password_is_one_sentence_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--artifacts", "wso2"]) == 1
    assert "WSO2_ADMIN_PASSWORD" in capsys.readouterr().out
