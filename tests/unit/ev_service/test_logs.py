"""One JSON object a line, and no secret in any of them."""

import json
import logging
from typing import Any

import pytest

from ev_service.logs import configure_logging, correlation_id

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJldmFwcCJ9.c2lnbmF0dXJl-_"
OPAQUE = "3f0a8c1e-5d1b-4f7c-9a53-0e7b6f1c2d3e"
logger = logging.getLogger("test.logs")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("solar")

    logger.info("panel cleaned", extra={"panel": 7, "power_kw": 1.5})

    (line,) = lines(capsys)
    assert line.pop("time")
    assert line == {
        "level": "INFO",
        "logger": "test.logs",
        "event": "panel cleaned",
        "service": "solar",
        "panel": 7,
        "power_kw": 1.5,
    }


def test_the_correlation_id_of_the_call_stands_in_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("solar")
    token = correlation_id.set("call-17")

    logger.info("panel cleaned")
    correlation_id.reset(token)
    logger.info("panel cleaned")

    inside, outside = lines(capsys)
    assert inside["correlation_id"] == "call-17"
    assert "correlation_id" not in outside


def test_a_level_below_the_chosen_one_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("solar", "WARNING")

    logger.info("panel cleaned")

    assert lines(capsys) == []


@pytest.mark.parametrize(
    "said",
    [
        f"token {JWT} refused",
        f"Authorization: Bearer {OPAQUE}",
        f"authorization: bearer {OPAQUE}",
        f"Authorization: Basic {OPAQUE}",
        f"{{'access_token': '{JWT}'}}",
        f"https://gateway.example/?access_token={JWT}",
    ],
)
def test_what_looks_like_a_token_is_struck_out(capsys: pytest.CaptureFixture[str], said: str) -> None:
    configure_logging("solar")

    logger.info(said)
    logger.info("call failed", extra={"header": said, "nested": {"headers": [said]}})
    try:
        raise RuntimeError(said)
    except RuntimeError:
        logger.exception("call failed")

    written = capsys.readouterr().err
    assert len(written.splitlines()) == 3
    assert JWT not in written
    assert OPAQUE not in written
    assert "***" in written


def test_a_line_stays_json_when_something_was_struck_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("solar")

    logger.info("call failed", extra={"header": f"Bearer {OPAQUE}", "status": 401})

    (line,) = lines(capsys)
    assert line["header"] == "Bearer ***"
    assert line["status"] == 401


def test_an_error_is_one_line_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("solar")
    try:
        raise ValueError("no sun")
    except ValueError:
        logger.exception("panel failed")

    (line,) = lines(capsys)
    assert "ValueError: no sun" in line["exc_info"]


def test_the_http_librarys_own_lines_about_each_call_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("solar")

    logging.getLogger("httpx").info("HTTP Request: GET https://gateway.example")

    assert lines(capsys) == []
