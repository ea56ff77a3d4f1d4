"""Who operates the switch, proved before anything is done, and what they operate it with."""

from collections.abc import Callable
from dataclasses import dataclass

from wso2_provisioning.applications import EVAPP, OPERATOR
from wso2_provisioning.errors import ScopesWrong
from wso2_provisioning.owner_keys import keys_of
from wso2_provisioning.switch.acts import Act
from wso2_provisioning.switch.course import Done
from wso2_provisioning.switch.journal import Journal
from wso2_provisioning.switch.record import Record
from wso2_provisioning.switch.watching import AgentSeen
from wso2_provisioning.tokens import ClientCredentials, Token, exact_token
from wso2_provisioning.wso2 import Wso2
from wso2_terms.artifacts import Artifacts

# Apart from any other token of these applications, which stay as they are.
_OWN_TOKEN = "device_switch"


@dataclass(frozen=True, slots=True)
class Site:
    """What is operated, once the operator is proved.

    wso2: as an administrator. record: with the operator's token. probe_url: a reading through the gateway.
    """

    wso2: Wso2
    artifacts: Artifacts
    record: Record
    agent: AgentSeen
    journal: Journal
    say: Callable[[str], None]

    @property
    def probe_url(self) -> str:
        """A reading of EVApp, through the gateway."""
        api = EVAPP.projects(self.artifacts)[0].api
        return self.wso2.settings.wso2_gateway_url + api.versioned_context + api.operations[0].target

    def token_of_evapp(self, keys: ClientCredentials) -> Token:
        """A token of EVApp that is not the agent's."""
        scopes = {*EVAPP.scopes(self.artifacts), _OWN_TOKEN}
        return exact_token(self.wso2.wire, self.wso2.settings.token_url, keys, EVAPP.name, scopes)

    def record_all(self, act: Act) -> Done:
        """Record this act, and those that could not be recorded when they were done."""
        number = self.record.add(act.as_json()).get("number")
        self.journal.forget(act.act_id)
        late = 0
        for left in self.journal.left():
            self.record.add(left)
            self.journal.forget(str(left["act_id"]))
            late += 1
        return "done", f"number {number}" + (f", and {late} of earlier" if late else "")


def prove_operator(wso2: Wso2, artifacts: Artifacts) -> Token:
    """Prove that who acts is the operator and an administrator, and return the operator's token.

    Raises:
        ProvisioningError: a password is not set or wrong, or WSO2 grants other scopes than the operator's.
    """
    keys = keys_of(wso2, OPERATOR)
    wanted = OPERATOR.scopes(artifacts)
    token = exact_token(wso2.wire, wso2.settings.token_url, keys, OPERATOR.name, {*wanted, _OWN_TOKEN})
    granted = token.scopes - {_OWN_TOKEN}
    if granted != wanted:
        raise ScopesWrong(
            f"{OPERATOR.name} is granted {' '.join(sorted(granted)) or 'nothing'} instead of "
            f"{' '.join(sorted(wanted))}: run the bootstrap with {OPERATOR.password_variable}"
        )
    # Asks for the administrator's token, which is granted these scopes or refused.
    _ = wso2.publisher
    return token
