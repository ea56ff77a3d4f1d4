"""What is seen of an act from outside: the gateway's answers to a probe, and the agent's decisions."""

import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import httpx

from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.http_client import HttpClient, parse_json_object
from wso2_provisioning.smoke_test import Verdict, parse_answer
from wso2_terms.codes import DENIED, SUBSCRIPTION_BLOCKED

REFUSALS = frozenset({str(DENIED.code), str(SUBSCRIPTION_BLOCKED.code)})
"""What the gateway answers to an application that was stopped."""
BLOCKED, _NOT_TRIED = "blocked", "nothing_yet"
"""What the agent says of a call that the gateway keeps from it, and of limits that it never tried to set."""
_GATEWAY_S = 10.0
_GATEWAY_PAUSE_S = 0.2
# Readings that the agent holds count for 10 s; a decision takes 8 s at most.
_AGENT_S = 20.0
_AGENT_PAUSE_S = 0.5
# Every decision asked for while it knows nothing costs it calls, and those of a minute may be spent already.
_REVIVED_S = 75.0
_REVIVED_PAUSE_S = 3.0

T = TypeVar("T")


class PollTimeoutError(ProvisioningError):
    """What was waited for did not show itself in time."""

    code = "unseen"


def wait_for_refusal(http: HttpClient, call: Callable[[], httpx.Response]) -> str:
    """Call until the gateway refuses the application; return its answer: status and code.

    Raises:
        PollTimeoutError: it still lets calls through.
    """
    return _poll_gateway(http, call, lambda answer: is_refusal(_format_answer(answer)))


def wait_until_let_through(http: HttpClient, call: Callable[[], httpx.Response]) -> str:
    """Call until the gateway lets the application through; return the answer: status and code.

    Raises:
        PollTimeoutError: it still refuses.
    """
    return _poll_gateway(http, call, lambda answer: parse_answer(answer).verdict is Verdict.LET_THROUGH)


def _poll_gateway(http: HttpClient, call: Callable[[], httpx.Response], is_it: Callable[[httpx.Response], bool]) -> str:
    def look() -> str | None:
        answer = call()
        return _format_answer(answer) if is_it(answer) else None

    found = _poll(http, look, _GATEWAY_S, _GATEWAY_PAUSE_S)
    if found is None:
        raise PollTimeoutError(f"after {_GATEWAY_S:.0f} s the gateway still answers {_format_answer(call())}")
    return found


def _format_answer(answer: httpx.Response) -> str:
    try:
        code = str(parse_json_object(answer).get("code", ""))
    except ProvisioningError:
        code = ""
    return f"{answer.status_code} {code}".strip()


def is_refusal(answer: str) -> bool:
    """Tell whether an answer is that to an application that was stopped."""
    return answer.rpartition(" ")[2] in REFUSALS


class AgentClient:
    """The agent, asked on its own port.

    Args:
        http: how to reach it.
        url: its base.
    """

    def __init__(self, http: HttpClient, url: str) -> None:
        self._http = http
        self._url = url

    def recheck(self) -> bool:
        """Have the agent look at once what the gateway allows; False when it would not spend calls on it.

        Raises:
            ProvisioningError: it does not answer.
        """
        return bool(parse_json_object(self._http.send_once("POST", f"{self._url}/recheck")).get("rechecked"))

    def wait_until_stopped(self) -> dict[str, Any]:
        """Ask for decisions until one gives 0 kW because the agent is blocked; return it.

        Raises:
            ProvisioningError: it does not answer, or not so.
        """
        return self._wait_for_decision(
            lambda told: told.get("charging_power_kw") == 0 and BLOCKED in _collect_errors(told),
            _AGENT_S,
            _AGENT_PAUSE_S,
        )

    def wait_until_it_decides(self) -> dict[str, Any]:
        """Ask for decisions until one rests on readings again; return it.

        Raises:
            ProvisioningError: it does not answer, or not so.
        """
        return self._wait_for_decision(
            lambda told: told.get("rule") != "fail_safe" and BLOCKED not in _collect_errors(told),
            _REVIVED_S,
            _REVIVED_PAUSE_S,
        )

    def read_command_result(self) -> str | None:
        """How the agent's last try to set limits on chargers ended, in one word; None where it made none.

        Raises:
            ProvisioningError: it does not answer.
        """
        told = parse_json_object(self._http.send_once("GET", f"{self._url}/site-status"))
        chargers = cast("dict[str, Any]", told.get("chargers") or {})
        word = str(chargers.get("commanding", _NOT_TRIED))
        return None if word == _NOT_TRIED else word

    def wait_for_command_result(self, is_so: Callable[[str], bool]) -> str:
        """Ask how setting limits goes until the word is the one that is waited for; return it.

        Raises:
            ProvisioningError: it does not answer, or not so.
        """

        def look() -> str | None:
            word = self.read_command_result()
            return word if word is not None and is_so(word) else None

        found = _poll(self._http, look, _AGENT_S, _AGENT_PAUSE_S)
        if found is None:
            raise PollTimeoutError(
                f"after {_AGENT_S:.0f} s the agent still says of setting limits: {self.read_command_result()}"
            )
        return found

    def request_decision(self) -> dict[str, Any]:
        """Ask for one decision."""
        return parse_json_object(self._http.send_once("GET", f"{self._url}/optimize-charging"))

    def _wait_for_decision(
        self, is_so: Callable[[dict[str, Any]], bool], most_s: float, pause_s: float
    ) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            told = self.request_decision()
            return told if is_so(told) else None

        found = _poll(self._http, look, most_s, pause_s)
        if found is None:
            told = self.request_decision()
            raise PollTimeoutError(
                f"after {most_s:.0f} s the agent says {told.get('charging_power_kw')} kW: {told.get('reason')}"
            )
        return found


def _collect_errors(decision: dict[str, Any]) -> set[str]:
    readings = cast("dict[str, dict[str, Any]]", decision.get("readings") or {})
    return {str(reading.get("error")) for reading in readings.values()}


def _poll(http: HttpClient, look: Callable[[], T | None], most_s: float, pause_s: float) -> T | None:
    ends = time.monotonic() + most_s
    while (found := look()) is None and time.monotonic() < ends:
        http.sleep(pause_s)
    return found
