"""Who operates the switch, proved before anything is done, and what they operate it with."""

from collections.abc import Callable
from dataclasses import dataclass

import httpx

from wso2_provisioning.applications import CHARGERS_API, CONTROL_API, OPERATOR, ApplicationSpec
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.http_client import Identity
from wso2_provisioning.owner_applications import export_credentials, request_application_token
from wso2_provisioning.switch.kill_audit import EventJournal, KillAuditLog, KillEvent
from wso2_provisioning.switch.polling import AgentClient
from wso2_provisioning.switch.step_runner import StepResult
from wso2_provisioning.tokens import ClientCredentials, Token, request_exact_token
from wso2_provisioning.wso2 import Wso2
from wso2_terms.artifacts import Artifacts

Probe = Callable[[], httpx.Response]
"""A call of the application's through the gateway, whatever the answer."""
_NO_LIMITS: dict[str, object] = {}
"""What is put to the limits to see whether the gateway lets it pass: no list, so that the service refuses it before it
looks at chargers or at who commands."""
# Apart from any other token of these applications, which stay as they are.
_DEVICE_SCOPE = "device_switch"


@dataclass(frozen=True, slots=True)
class SwitchContext:
    """What is operated, once the operator is proved.

    wso2: as an administrator. spec: the application that is stopped or let go on. record: with the operator's token.
    """

    wso2: Wso2
    spec: ApplicationSpec
    artifacts: Artifacts
    audit_log: KillAuditLog
    agent: AgentClient
    journal: EventJournal
    report: Callable[[str], None]

    def read_credentials(self) -> ClientCredentials | None:
        """The application's key; None, and a word why, where it can not be had."""
        try:
            return export_credentials(self.wso2, self.spec)
        except ProvisioningError as error:
            self.report(f"the key of {self.spec.name} can not be read, so its token stays: {error.message}")
            return None

    def request_probe_token(self, key: ClientCredentials | None) -> Token | None:
        """A token of the application that is not the one it holds itself; None, and a word why, without one."""
        if key is None:
            return None
        scopes = {*self.spec.collect_scopes(self.artifacts), _DEVICE_SCOPE}
        try:
            return request_exact_token(self.wso2.http, self.wso2.settings.token_url, key, self.spec.name, scopes)
        except ProvisioningError as error:
            self.report(f"no call is tried: {error.message}")
            return None

    def build_first_reading_probe(self, token: Token) -> Probe:
        """The first reading of the application."""
        return self._build_probe(self.spec.apis[0], token)

    def build_chargers_probe(self, token: Token) -> Probe:
        """What the chargers do."""
        return self._build_probe(CHARGERS_API, token)

    def build_limits_probe(self, token: Token) -> Probe:
        """The call by which limits are set, with none in it."""
        return self._build_probe(CONTROL_API, token, json=_NO_LIMITS)

    def _build_probe(self, name: str, token: Token, json: object = None) -> Probe:
        api = self.artifacts.find_api(name).api
        operation = api.operations[0]
        url = self.wso2.settings.wso2_gateway_url + api.versioned_context + operation.target
        identity = Identity.from_token("probe", token.access_token)
        return lambda: self.wso2.http.send_once(operation.verb, url, identity, json=json)

    def record_event(self, act: KillEvent) -> StepResult:
        """Record this act, and those that could not be recorded when they were done."""
        number = self.audit_log.add(act.to_json()).get("number")
        self.journal.remove(act.event_id)
        late = 0
        for left in self.journal.list_unrecorded():
            self.audit_log.add(left)
            self.journal.remove(str(left["act_id"]))
            late += 1
        return "done", f"number {number}" + (f", and {late} of earlier" if late else "")


def authenticate_operator(wso2: Wso2, artifacts: Artifacts) -> Token:
    """Prove that who acts is the operator and an administrator, and return the operator's token.

    Raises:
        ProvisioningError: a password is not set or wrong, or WSO2 grants other scopes than the operator's.
    """
    token = request_application_token(wso2, artifacts, OPERATOR, _DEVICE_SCOPE)
    # Asks for the administrator's token, which is granted these scopes or refused.
    _ = wso2.publisher
    return token
