"""The operated stack and application, and the authentication of the operator before anything is done."""

from collections.abc import Callable
from dataclasses import dataclass

from wso2_provisioning.applications import CHARGERS_API, CONTROL_API, OPERATOR, ApplicationSpec
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.http_client import Identity
from wso2_provisioning.owner_applications import export_credentials, request_application_token
from wso2_provisioning.switch.kill_audit import EventJournal, KillAuditLog, KillEvent, StepResult
from wso2_provisioning.switch.polling import AgentClient, Probe
from wso2_provisioning.tokens import ClientCredentials, Token, request_exact_token
from wso2_provisioning.wso2 import Wso2
from wso2_terms.artifacts import Artifacts

_NO_LIMITS: dict[str, object] = {}
"""Body of the probe of PUT /limits: not a list, so the service rejects it before it checks the caller."""
# A scope of its own, so that requesting this token revokes no other one.
_DEVICE_SCOPE = "device_switch"


@dataclass(frozen=True, slots=True)
class SwitchContext:
    """What a kill or revive acts on, after the operator was authenticated."""

    wso2: Wso2
    """REST APIs, as the administrator."""
    spec: ApplicationSpec
    """Application that is killed or revived."""
    artifacts: Artifacts
    """What WSO2 was provisioned with."""
    audit_log: KillAuditLog
    """Log behind SiteAPI, with the operator's token."""
    agent: AgentClient
    journal: EventJournal
    report: Callable[[str], None]
    """Prints a line for the operator."""

    def read_credentials(self) -> ClientCredentials | None:
        """Return the application's credentials; None, with a reported reason, if they cannot be read."""
        try:
            return export_credentials(self.wso2, self.spec)
        except ProvisioningError as error:
            self.report(f"the key of {self.spec.name} cannot be read, so its token is not revoked: {error.message}")
            return None

    def request_probe_token(self, key: ClientCredentials | None) -> Token | None:
        """Return a token of the application other than its own; None, with a reported reason, if there is none."""
        if key is None:
            return None
        scopes = {*self.spec.collect_scopes(self.artifacts), _DEVICE_SCOPE}
        try:
            return request_exact_token(self.wso2.http, self.wso2.settings.token_url, key, self.spec.name, scopes)
        except ProvisioningError as error:
            self.report(f"no probe is possible: {error.message}")
            return None

    def build_first_reading_probe(self, token: Token) -> Probe:
        """Return a probe of the application's first reading."""
        return self._build_probe(self.spec.apis[0], token)

    def build_chargers_probe(self, token: Token) -> Probe:
        """Return a probe of the chargers' state."""
        return self._build_probe(CHARGERS_API, token)

    def build_limits_probe(self, token: Token) -> Probe:
        """Return a probe of setting limits that sets none."""
        return self._build_probe(CONTROL_API, token, json=_NO_LIMITS)

    def _build_probe(self, name: str, token: Token, json: object = None) -> Probe:
        api = self.artifacts.find_api(name).api
        operation = api.operations[0]
        url = self.wso2.settings.wso2_gateway_url + api.versioned_context + operation.target
        identity = Identity.from_token("probe", token.access_token)
        return Probe(self.wso2.http, identity, operation.verb, url, json)

    def record_event(self, act: KillEvent) -> StepResult:
        """Record this event, and earlier ones that could not be recorded at their time."""
        number = self.audit_log.add(act.to_json()).get("number")
        self.journal.remove(act.event_id)
        late = 0
        for left in self.journal.list_unrecorded():
            self.audit_log.add(left)
            self.journal.remove(str(left["act_id"]))
            late += 1
        return "done", f"number {number}" + (f", and {late} of earlier" if late else "")


def authenticate_operator(wso2: Wso2, artifacts: Artifacts) -> Token:
    """Check the passwords of the operator and of an administrator, and return the operator's token.

    Raises:
        ProvisioningError: a password is not set or wrong, or WSO2 grants other scopes than the operator's.
    """
    token = request_application_token(wso2, artifacts, OPERATOR, _DEVICE_SCOPE)
    # Requests the administrator's token, which is granted these scopes or refused.
    _ = wso2.publisher
    return token
