"""What the holder of a killed application's key can still do: nothing of it may get through the gateway.

Each row denies the owner and nothing else, because that must hold by itself. The holder acts in the Developer Portal
with a token that was caught while a bootstrap lent the owner its role, which is the most that a key can get.
"""

from collections.abc import Callable, Mapping
from functools import partial

from tests.attacks.application_copies import ApplicationCopy, KeyHolder
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import describe_access, fault, format_status, summarize, table
from tests.attacks.rows import Group, Observation, Row

from wso2_provisioning.applications import ASSISTANT, EVAPP, PORTAL_SCOPES, ApplicationSpec
from wso2_provisioning.switch.subscriptions import build_owner_target
from wso2_provisioning.tokens import ClientCredentials
from wso2_provisioning.verification.formatting import parse_body
from wso2_terms.codes import DENIED

KILLED = (EVAPP, ASSISTANT)
ACTS: Mapping[str, tuple[str, Callable[[KeyHolder], ClientCredentials]]] = {
    "second-application": ("second application", KeyHolder.second_application),
    "rename": ("application renamed", KeyHolder.rename),
    "resubscribe": ("subscriptions renewed", KeyHolder.resubscribe),
    "new-key": ("new secret", KeyHolder.new_key),
}
_GOOD = "let through"


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    denied = fault(DENIED)
    return tuple(row for spec in KILLED for row in _rows_of(spec, denied))


def _rows_of(spec: ApplicationSpec, denied: str) -> tuple[Row, ...]:
    who = spec.name.lower()
    return table(
        Group.KILL,
        (
            f"portal-scopes-{who}",
            f"{spec.name}'s key asks for portal scopes",
            "none granted",
            partial(_portal_scopes, spec=spec),
        ),
        (
            f"bootstrap-poll-{who}",
            "the same throughout a bootstrap, used after a kill",
            denied,
            partial(_poll, spec=spec),
        ),
        *(
            (
                f"{name}-before-{who}",
                f"{title}, then kill",
                f"{_GOOD}, then {denied}",
                partial(_before, spec=spec, act=act),
            )
            for name, (title, act) in ACTS.items()
        ),
        *(
            (f"{name}-after-{who}", f"kill, then {title}", denied, partial(_after, spec=spec, act=act))
            for name, (title, act) in ACTS.items()
        ),
    )


def _portal_scopes(run: AttackRun, *, spec: ApplicationSpec) -> Observation:
    answer = run.ask_token(run.client_of(spec), *sorted(PORTAL_SCOPES), "device_attack")
    granted = PORTAL_SCOPES & set(str(parse_body(answer).get("scope", "")).split())
    return Observation(f"granted {' '.join(sorted(granted))}" if granted else "none granted")


def _poll(run: AttackRun, *, spec: ApplicationSpec) -> Observation:
    holder = ApplicationCopy.of(spec).set_up(run, polls_on=True)
    caught = holder.portal_tokens
    kill(holder)
    keys = [holder.second_application(token) for token in caught[:1] + caught[1:][-1:]]
    answers = [_wait_for_code(holder, key, fault(DENIED)) for key in keys]
    told = summarize(answers).removesuffix(" each") if answers else "no token was caught: nothing is shown"
    return Observation(told, f"{len(caught)} tokens of the portal caught")


def _before(run: AttackRun, *, spec: ApplicationSpec, act: Callable[[KeyHolder], ClientCredentials]) -> Observation:
    holder = ApplicationCopy.of(spec).set_up(run)
    key = act(holder)
    before = run.wait_for_response(lambda: describe_access(holder.call(key)), _GOOD)
    kill(holder)
    return Observation(f"{before}, then {_wait_for_code(holder, key, fault(DENIED))}")


def _after(run: AttackRun, *, spec: ApplicationSpec, act: Callable[[KeyHolder], ClientCredentials]) -> Observation:
    holder = ApplicationCopy.of(spec).set_up(run)
    kill(holder)
    return Observation(_wait_for_code(holder, act(holder), fault(DENIED)))


def kill(holder: KeyHolder) -> None:
    """The first step of a kill, alone; it is undone with all that was made to attack."""
    denied = build_owner_target(holder.spec)
    holder.run.resources.deny(denied.condition_type, denied.value)


def _wait_for_code(holder: KeyHolder, key: ClientCredentials, wanted: str) -> str:
    return holder.run.wait_for_response(lambda: _call_and_format(holder, key), wanted)


def _call_and_format(holder: KeyHolder, key: ClientCredentials) -> str:
    answer = holder.call(key)
    return _GOOD if describe_access(answer) == _GOOD else format_status(answer)
