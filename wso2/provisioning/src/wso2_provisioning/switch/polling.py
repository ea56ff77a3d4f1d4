"""Polls the effect of a kill or revive: the gateway's answers to a probe, and the agent's decisions."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import httpx

from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.http_client import HttpClient, Identity, parse_json_object
from wso2_provisioning.smoke_test import Verdict, parse_answer
from wso2_terms.codes import DENIED, SUBSCRIPTION_BLOCKED

REFUSALS = frozenset({str(DENIED.code), str(SUBSCRIPTION_BLOCKED.code)})
"""Codes of the gateway's answers to a stopped application."""
BLOCKED, _NOT_TRIED = "blocked", "nothing_yet"
"""Values of the agent for a call that the gateway refuses, and for limits that it has never set."""
_GATEWAY_S = 10.0
_GATEWAY_PAUSE_S = 0.2
# The agent uses cached readings for 10 s, and a decision takes at most 8 s.
_AGENT_S = 20.0
_AGENT_PAUSE_S = 0.5
# Each decision without readings costs the agent calls, and its quota of the minute may be used up.
_REVIVED_S = 75.0
_REVIVED_PAUSE_S = 3.0

T = TypeVar("T")


class PollTimeoutError(ProvisioningError):
    """The awaited state was not observed in time."""

    code = "unseen"


@dataclass(frozen=True, slots=True)
class Probe:
    """A call through the gateway as the application."""

    http: HttpClient
    identity: Identity
    """The application's token."""
    method: str
    url: str
    body: object = None
    """JSON body, None for no body."""

    def send(self) -> httpx.Response:
        """Make the call once and return any answer."""
        return self.http.send_once(self.method, self.url, self.identity, json=self.body)

    def wait_for_refusal(self) -> str:
        """Call until the gateway refuses the application; return status and code.

        Raises:
            PollTimeoutError: calls are still let through.
        """
        return self._poll(lambda answer: is_refusal(_format_answer(answer)))

    def wait_until_let_through(self) -> str:
        """Call until the gateway lets the application through; return status and code.

        Raises:
            PollTimeoutError: calls are still refused.
        """
        return self._poll(lambda answer: parse_answer(answer).verdict is Verdict.LET_THROUGH)

    def _poll(self, is_it: Callable[[httpx.Response], bool]) -> str:
        def attempt() -> str | None:
            answer = self.send()
            return _format_answer(answer) if is_it(answer) else None

        found = _poll(self.http, attempt, _GATEWAY_S, _GATEWAY_PAUSE_S)
        if found is None:
            raise PollTimeoutError(f"after {_GATEWAY_S:.0f} s the gateway still answers {_format_answer(self.send())}")
        return found


def _format_answer(answer: httpx.Response) -> str:
    try:
        code = str(parse_json_object(answer).get("code", ""))
    except ProvisioningError:
        code = ""
    return f"{answer.status_code} {code}".strip()


def is_refusal(answer: str) -> bool:
    """Return whether an answer is the one to a stopped application."""
    return answer.rpartition(" ")[2] in REFUSALS


class AgentClient:
    """Client of the agent, on its own port.

    Args:
        http: HTTP client.
        url: base URL of the agent.
    """

    def __init__(self, http: HttpClient, url: str) -> None:
        self._http = http
        self._url = url

    def recheck(self) -> bool:
        """Make the agent check its access now; False if it would not spend calls on that.

        Raises:
            ProvisioningError: it does not answer.
        """
        return bool(parse_json_object(self._http.send_once("POST", f"{self._url}/recheck")).get("rechecked"))

    def wait_until_stopped(self) -> dict[str, Any]:
        """Request decisions until one is 0 kW because the agent is blocked; return it.

        Raises:
            ProvisioningError: the agent does not answer, or not in this way.
        """
        return self._wait_for_decision(
            lambda decision: decision.get("charging_power_kw") == 0 and BLOCKED in _collect_errors(decision),
            _AGENT_S,
            _AGENT_PAUSE_S,
        )

    def wait_until_it_decides(self) -> dict[str, Any]:
        """Request decisions until one is based on readings again; return it.

        Raises:
            ProvisioningError: the agent does not answer, or not in this way.
        """
        return self._wait_for_decision(
            lambda decision: decision.get("rule") != "fail_safe" and BLOCKED not in _collect_errors(decision),
            _REVIVED_S,
            _REVIVED_PAUSE_S,
        )

    def read_command_result(self) -> str | None:
        """Return the result of the agent's last attempt to set charging limits; None if it made none.

        Raises:
            ProvisioningError: it does not answer.
        """
        decision = parse_json_object(self._http.send_once("GET", f"{self._url}/site-status"))
        chargers = cast("dict[str, Any]", decision.get("chargers") or {})
        result = str(chargers.get("commanding", _NOT_TRIED))
        return None if result == _NOT_TRIED else result

    def wait_for_command_result(self, *, is_blocked: bool) -> str:
        """Poll the result of setting limits until the gateway blocks it, or does not any longer; return it.

        Raises:
            ProvisioningError: the agent does not answer, or not in this way.
        """

        def attempt() -> str | None:
            result = self.read_command_result()
            return result if result is not None and (result == BLOCKED) is is_blocked else None

        found = _poll(self._http, attempt, _AGENT_S, _AGENT_PAUSE_S)
        if found is None:
            raise PollTimeoutError(
                f"after {_AGENT_S:.0f} s setting limits still ends with {self.read_command_result()}"
            )
        return found

    def request_decision(self) -> dict[str, Any]:
        """Request one decision."""
        return parse_json_object(self._http.send_once("GET", f"{self._url}/optimize-charging"))

    def _wait_for_decision(
        self, is_so: Callable[[dict[str, Any]], bool], most_s: float, pause_s: float
    ) -> dict[str, Any]:
        def attempt() -> dict[str, Any] | None:
            decision = self.request_decision()
            return decision if is_so(decision) else None

        found = _poll(self._http, attempt, most_s, pause_s)
        if found is None:
            decision = self.request_decision()
            raise PollTimeoutError(
                f"after {most_s:.0f} s the agent still decides {decision.get('charging_power_kw')} kW: "
                f"{decision.get('reason')}"
            )
        return found


def _collect_errors(decision: dict[str, Any]) -> set[str]:
    readings = cast("dict[str, dict[str, Any]]", decision.get("readings") or {})
    return {str(reading.get("error")) for reading in readings.values()}


def _poll(http: HttpClient, attempt: Callable[[], T | None], most_s: float, pause_s: float) -> T | None:
    ends = time.monotonic() + most_s
    while (found := attempt()) is None and time.monotonic() < ends:
        http.sleep(pause_s)
    return found
