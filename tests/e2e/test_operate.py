"""`make operate` on the running stack: a person sees the cars and orders above the agent, through the gateway."""

import json
from datetime import timedelta
from typing import Any

import pytest

from ev_service.units import utc_text
from local_stack.stack import ARTIFACTS
from wso2_provisioning.operating.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture
def operate(terminal: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Gives a command as the operator's own terminal would, and returns the answer."""
    del terminal

    def ordered(*arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["--json", *arguments], artifacts_dir=ARTIFACTS) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return ordered


def test_the_chargers_and_cars_of_the_site_are_seen(operate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert operate("chargers")["chargers"]

    assert main(["sessions"], artifacts_dir=ARTIFACTS) == 0
    assert capsys.readouterr().out


def test_a_stop_is_in_force_at_once_recorded_and_ended_by_the_next_order(operate: Any) -> None:
    stopped = operate("stop", "--minutes", "30", "--reason", "fire alarm test")
    seen = operate("chargers")["override"]
    released = operate("release", "--reason", "the test is over")
    newest = operate("orders", "--most", "2")["orders"]

    assert stopped["override"]["kind"] == seen["kind"] == "stop"
    assert stopped["proved"]["application"] == "Operator"
    assert released["override"] is None
    assert [order["override"]["reason"] for order in newest] == ["the test is over", "fire alarm test"]


def test_the_sites_limit_is_lowered_and_lifted(operate: Any) -> None:
    lowered = operate("limit", "20", "--reason", "transformer works")
    lifted = operate("limit", "none", "--reason", "done")

    assert lowered["site_limit_kw"] == 20
    assert lifted["site_limit_kw"] == lifted["configured_kw"]


def test_what_the_service_refuses_is_told_in_its_words(operate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert operate("chargers")
    capsys.readouterr()

    assert main(["limit", "5000", "--reason", "too much"], artifacts_dir=ARTIFACTS) == 1

    told = capsys.readouterr().err
    assert "refused with 422" in told
    assert "no reason given" not in told


def test_a_session_that_is_not_there_is_refused(site: Any, operate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert operate("sessions") is not None
    evening = utc_text(site.now() + timedelta(hours=5))

    assert main(["departure", "nobodys", "--at", evening], artifacts_dir=ARTIFACTS) == 1

    assert "404" in capsys.readouterr().err


def test_a_wrong_password_orders_nothing(
    operate: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = operate("orders")["orders"]
    with monkeypatch.context() as wrong:
        wrong.setenv("OPERATOR_PASSWORD", "not-the-password-1")
        assert main(["stop", "--minutes", "5", "--reason", "forged"], artifacts_dir=ARTIFACTS) == 1
    assert "not done: " in capsys.readouterr().err

    assert operate("orders")["orders"] == before
