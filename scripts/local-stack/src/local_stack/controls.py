"""Six controls: what the gateway and the services refuse, expected and observed.

Uses applications and tokens of its own, so that the agent's token is not revoked; only the over-the-limit control
spends EVApp's own calls.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from pydantic import SecretStr

from ev_service.clock import FollowedClock, write_clock_file
from wso2_provisioning.verification.formatting import format_status
from wso2_provisioning.verification.refusal_rows import forge_signature
from wso2_terms import codes

PATH = "/solar/1.0.0/solar-status"
LIMIT = 10
_LEAST_LEFT_S = 10.0


@dataclass(frozen=True, slots=True)
class ControlResult:
    """A control that was tried: what must happen, and what happened."""

    name: str
    expected: str
    observed: str

    @property
    def holds(self) -> bool:
        return self.expected == self.observed


@dataclass(frozen=True, slots=True)
class Client:
    """Key and secret of an application."""

    client_id: str
    client_secret: str


@dataclass(frozen=True, slots=True)
class Target:
    """What is tried and with what.

    management, gateway: HTTP clients that trust the CA. service_url: the solar service, past the gateway.
    evapp: subscribed. stranger: an application with keys and no subscription.
    """

    management: httpx.Client
    gateway: httpx.Client
    service_url: str
    clock_file: Path
    evapp: Client
    stranger: Client


def prove(target: Target) -> Iterator[ControlResult]:
    """Try each control in turn."""
    token = _request_token(target, target.evapp, "solar:read device_controls")
    no_scope = _request_token(target, target.evapp, "device_controls")
    stranger = _request_token(target, target.stranger, "solar:read")
    yield _expect_fault("no token", codes.MISSING_CREDENTIALS, target.gateway.get(PATH))
    yield _expect_fault(
        "forged token", codes.INVALID_CREDENTIALS, _call(target, forge_signature(SecretStr(token)).get_secret_value())
    )
    yield _expect_fault("token without the scope", codes.SCOPE_MISSING, _call(target, no_scope))
    yield _expect_fault("application not subscribed", codes.NOT_SUBSCRIBED, _call(target, stranger))
    yield _exceed_limit(target, token)
    past = httpx.get(f"{target.service_url}/solar-status", timeout=5, trust_env=False)
    yield ControlResult("direct call past the gateway", "401 assertion_refused", format_status(past))


def _exceed_limit(target: Target, token: str) -> ControlResult:
    _wait_for_minute(target.clock_file)
    answers = [_call(target, token) for _ in range(LIMIT + 1)]
    last, passed = answers[-1], sum(answer.status_code == 200 for answer in answers)
    fault = codes.SUBSCRIPTION_THROTTLED
    expected = f"{fault.http_status} {fault.code}, at most {LIMIT} passed"
    amount = f"at most {LIMIT}" if passed <= LIMIT else str(passed)
    return ControlResult(f"{LIMIT + 1} calls in one minute", expected, f"{format_status(last)}, {amount} passed")


def _wait_for_minute(clock_file: Path) -> None:
    # The gateway counts by clock minute: a burst that crosses its edge would be counted twice.
    now = FollowedClock(clock_file).now()
    if 60 - now.second < _LEAST_LEFT_S:
        write_clock_file(clock_file, now.replace(second=0, microsecond=0) + timedelta(minutes=1))


def _expect_fault(name: str, fault: codes.Fault, answer: httpx.Response) -> ControlResult:
    return ControlResult(name, f"{fault.http_status} {fault.code}", format_status(answer))


def _call(target: Target, token: str) -> httpx.Response:
    return target.gateway.get(PATH, headers={"Authorization": f"Bearer {token}"})


def _request_token(target: Target, client: Client, scope: str) -> str:
    answer = target.management.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials", "scope": scope},
        auth=(client.client_id, client.client_secret),
    )
    return str(answer.raise_for_status().json()["access_token"])
