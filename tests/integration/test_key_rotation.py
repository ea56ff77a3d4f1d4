"""The gateway's signing key and its authority change under load, by the steps of docs/keys.md: no decision fails.

The whole stack as processes, on real time. Limits are lifted, so that the agent asks through the gateway all the time.
"""

import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from ev_service.assertion import CONTEXT_CLAIM, HEADER, ISSUER
from ev_service.clock import SystemClock
from ev_service.files import replace_file
from ev_service.key_files import PRIVATE, PUBLIC
from local_gateway.keys import KeyFiles, SigningKey, prepare_key_files
from local_stack.controls import build_provisioning_settings
from local_stack.environment import free_ports, make_passwords
from local_stack.stack import ARTIFACTS, READING_SERVICES, Stack, StackPlan, running, start_gateway
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.provision import Wso2
from wso2_terms.artifacts import load_artifacts
from wso2_terms.policies import Policy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_PLENTY = 100_000
_DECISIONS_A_STEP = 40
# Readings bridge a minute; a gateway that takes longer to start has another fault.
_STEP_S = 60.0
# A token younger than 10 s is not renewed when it is refused, and tokens of the former key are.
_TOKEN_AGE_S = 11.0


class Load:
    """Asks for decisions all the time, from several threads, and keeps what came."""

    def __init__(self, agent_url: str) -> None:
        self._url = f"{agent_url}/optimize-charging"
        self._stops = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]
        self.decisions: list[dict[str, Any]] = []
        self.failures: list[str] = []

    def _ask(self) -> None:
        with httpx.Client(timeout=10, trust_env=False) as client:
            while not self._stops.wait(0.02):
                try:
                    answer = client.get(self._url)
                    answer.raise_for_status()
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                else:
                    self.decisions.append(answer.json())

    @contextmanager
    def running(self) -> Generator["Load"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stops.set()
            for thread in self._threads:
                thread.join()

    def errors(self, since: int = 0) -> Counter[str]:
        """What stood in the way of readings, in the decisions since one of them."""
        readings = (reading for made in self.decisions[since:] for reading in made["readings"].values())
        return Counter(reading["error"] for reading in readings if reading.get("error") is not None)

    def rules(self) -> Counter[str]:
        return Counter(made["rule"] for made in self.decisions)

    def wait_for_decisions(self) -> int:
        """Wait for as many sound decisions as make a step; returns where they begin."""
        begin, deadline = len(self.decisions), time.monotonic() + _STEP_S
        while sum(not made["degraded"] for made in self.decisions[begin:]) < _DECISIONS_A_STEP:
            assert time.monotonic() < deadline, (self.errors(begin), self.rules())
            time.sleep(0.05)
        return begin


@pytest.fixture
def stack(tmp_path: Path) -> Generator[Stack]:
    limits = tmp_path / "limits.json"
    names = ("SolarAPI", "BatteryAPI", "GridAPI", "ChargerAPI", "ChargerControlAPI")
    limits.write_text(json.dumps({name: {"requests": _PLENTY, "per_s": 60} for name in names}))
    # Most decisions ask anew: what is held counts as it is for a second, and as stale for a minute.
    settings = {"AGENT_LIMITS_FILE": str(limits), "AGENT_PERIOD_S": "1", "AGENT_MAX_AGE_S": "1"}
    plan = StackPlan(free_ports(), make_passwords(), tmp_path / "state", settings)
    with running(plan, lambda _step: None) as started:
        with HttpClient(plan.ca_file) as http:
            lift_limits(plan, http)
        yield started


def lift_limits(plan: StackPlan, http: HttpClient) -> None:
    admin = Wso2(http, build_provisioning_settings(plan)).admin
    for policy in load_artifacts(ARTIFACTS, plan.operator_environment()).policies:
        limit = policy.data.default_limit
        count = limit.request_count.model_copy(update={"request_count": _PLENTY})
        data = policy.data.model_copy(update={"default_limit": limit.model_copy(update={"request_count": count})})
        admin.import_policy(Policy(kind=policy.kind, data=data))


def restart_gateway(stack: Stack) -> None:
    stack.processes.end("gateway")
    start_gateway(stack.plan, stack.processes)


def append(file: Path, content: bytes) -> None:
    replace_file(file, file.read_bytes() + content, PUBLIC)


def change_signing_key(stack: Stack, load: Load, following: KeyFiles) -> None:
    here = KeyFiles(stack.plan.certificates)
    append(here.signing, following.signing.read_bytes())
    load.wait_for_decisions()
    replace_file(here.signing_key, following.signing_key.read_bytes(), PRIVATE)
    restart_gateway(stack)
    load.wait_for_decisions()
    replace_file(here.signing, following.signing.read_bytes(), PUBLIC)


def change_authority(stack: Stack, load: Load, following: KeyFiles) -> None:
    here = KeyFiles(stack.plan.certificates)
    append(here.ca, following.ca.read_bytes())
    load.wait_for_decisions()
    replace_file(here.server_key, following.server_key.read_bytes(), PRIVATE)
    replace_file(here.server, following.server.read_bytes(), PUBLIC)
    restart_gateway(stack)
    load.wait_for_decisions()
    replace_file(here.ca, following.ca.read_bytes(), PUBLIC)


def refusal_by_solar(stack: Stack, key: RSAKey) -> str:
    now_s = int(SystemClock().now().timestamp())
    claims = {"iss": ISSUER, "iat": now_s, "exp": now_s + 60, CONTEXT_CLAIM: "/solar/1.0.0"}
    headers = {HEADER: jwt.encode({"alg": "RS256"}, claims, key)}
    answer = httpx.get(f"{stack.plan.service_url('solar')}/solar-status", headers=headers, trust_env=False)
    return str(answer.json().get("code", answer.status_code))


def test_key_and_authority_change_under_load_without_a_failed_decision(stack: Stack, tmp_path: Path) -> None:
    plan = stack.plan
    former_key = SigningKey.read(KeyFiles(plan.certificates)).key
    former_ca = plan.ca_file.read_bytes()
    following = prepare_key_files(tmp_path / "next", SystemClock().now())
    with Load(plan.agent_url).running() as load:
        load.wait_for_decisions()
        time.sleep(_TOKEN_AGE_S)
        change_signing_key(stack, load, following)
        load.wait_for_decisions()
        change_authority(stack, load, following)
        begin = load.wait_for_decisions()

    assert load.failures == []
    assert load.rules()["fail_safe"] == 0, (load.rules(), load.errors())
    # What stood in the way was the gateway's own restart, never a key that somebody did not accept.
    assert load.errors().keys() <= {"gateway_down", "timeout", "token_unavailable", "too_old"}, load.errors()
    assert load.errors(begin).total() == 0
    for service in READING_SERVICES:
        assert "warnings" not in httpx.get(f"{plan.service_url(service)}/health", trust_env=False).json()
    assert "warnings" not in httpx.get(f"{plan.agent_url}/health", trust_env=False).json()

    # And what was there before is accepted no longer.
    assert refusal_by_solar(stack, former_key) == "assertion_refused"
    assert refusal_by_solar(stack, SigningKey.read(following).key) == "200"
    alone = ssl.create_default_context(cadata=former_ca.decode())
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{plan.gateway_url}/", verify=alone, trust_env=False)
