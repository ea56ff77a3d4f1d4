"""The event of a kill or revive: its steps, the local journal of unrecorded events, and the log behind SiteAPI.

Each step is timed, reported and saved; a failed one does not stop the next.
"""

import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

from ev_service.errors import ConfigurationError, EvError
from ev_service.files import replace_file
from ev_service.units import utc_text
from wso2_provisioning.applications import EVAPP
from wso2_provisioning.http_client import HttpClient, Identity, parse_json_object
from wso2_provisioning.tokens import ClientCredentials, Token

EventKind = Literal["kill", "revive"]
KillScope = Literal["all", "control"]
StepOutcome = Literal["done", "already", "failed", "skipped"]
DENY_POLICY, SUBSCRIPTION, KEY = "deny_policy", "subscription", "key"

_DIGITS = 12
_LONGEST_REASON, _LONGEST_DETAIL, _LONGEST_NAME = 500, 500, 100
_CONTROL = re.compile(r"[\u0000-\u001f\u007f-\u009f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an event, and its outcome."""

    name: str
    outcome: StepOutcome
    took_s: float
    """Duration [s]."""
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class GatewayChange:
    """One resource at the gateway that a kill changed, or a revive reverted."""

    kind: str
    """`deny_policy`, `subscription` or `key`."""
    id: str
    """The gateway's id; of a key the value of `compute_key_id`."""
    name: str


@dataclass(slots=True)
class KillEvent:
    """A kill or revive in progress, as SiteAPI records it."""

    kind: EventKind
    reason: str
    operator: str
    started_at: datetime
    scope: KillScope = "all"
    """Everything that the application may do, or setting charging limits only."""
    application: str = EVAPP.name
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    steps: list[Step] = field(default_factory=list[Step])
    changes: list[GatewayChange] = field(default_factory=list[GatewayChange])
    gateway_refused_after_s: float | None = None
    agent_stopped_after_s: float | None = None
    agent_decides_after_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the event as SiteAPI accepts it."""
        return {
            "act_id": self.event_id,
            "kind": self.kind,
            "scope": self.scope,
            "application": self.application,
            "reason": self.reason,
            "operator": self.operator,
            "started_at": utc_text(self.started_at),
            "steps": [
                {"name": step.name, "outcome": step.outcome, "took_s": step.took_s, "detail": step.detail}
                for step in self.steps
            ],
            "changes": [{"kind": change.kind, "id": change.id, "name": change.name} for change in self.changes],
            "gateway_refused_after_s": self.gateway_refused_after_s,
            "agent_stopped_after_s": self.agent_stopped_after_s,
            "agent_decides_after_s": self.agent_decides_after_s,
        }


def parse_reason(text: str | None, kind: EventKind) -> str:
    """Return the reason of an event.

    Raises:
        ConfigurationError: it is missing, too long, or more than one line.
    """
    reason = (text or "").strip()
    if not reason:
        raise ConfigurationError(f'say why, in one line: make {kind} REASON="sensor fault"')
    if len(reason) > _LONGEST_REASON or _CONTROL.search(reason):
        raise ConfigurationError(f"REASON must be one line of at most {_LONGEST_REASON} characters")
    return reason


def parse_scope(text: str | None) -> KillScope:
    """Return the scope of an event; without a value it is `all`.

    Raises:
        ConfigurationError: it is an unknown scope.
    """
    match text or "all":
        case "all" | "control" as scope:
            return scope
        case _:
            raise ConfigurationError("SCOPE must be all (the default) or control (setting limits on chargers alone)")


def to_one_line(text: str, longest: int = _LONGEST_DETAIL) -> str:
    """Return a text as the audit log accepts it: control characters replaced by blanks, cut to the maximum length."""
    return _CONTROL.sub(" ", text).strip()[:longest] or "?"


def format_operator_name(text: str) -> str:
    """Return the operator's name as the audit log accepts it."""
    return to_one_line(text, _LONGEST_NAME)


@dataclass(frozen=True, slots=True)
class RecordedChanges:
    """Changes at the gateway by recorded events."""

    unreverted: Mapping[str, GatewayChange]
    """Changes by kills that no revive has reverted, by id."""
    known_ids: frozenset[str]
    """Every id that an event names."""


def collect_changes(acts: Iterable[Mapping[str, Any]]) -> RecordedChanges:
    """Collect the changes of recorded events.

    Args:
        acts: the newest first.
    """
    known: set[str] = set()
    unreverted: dict[str, GatewayChange] = {}
    for act in acts:
        for change in cast("list[dict[str, Any]]", act.get("changes") or []):
            changed = str(change.get("id"))
            if changed not in known and act.get("kind") == "kill":
                unreverted[changed] = GatewayChange(str(change.get("kind")), changed, str(change.get("name")))
            known.add(changed)
    return RecordedChanges(unreverted, frozenset(known))


def compute_key_id(credentials: ClientCredentials) -> str:
    """Return an id that identifies a key and its secret without revealing the secret."""
    digest = hashlib.sha256(credentials.client_secret.get_secret_value().encode()).hexdigest()
    return f"{credentials.client_id}:{digest[:_DIGITS]}"


class EventJournal:
    """Local files of events that are not in the audit log yet, so that a killed process loses none.

    Args:
        folder: of the files, one per event.
        warn: called once if nothing can be written there; the event continues.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self._folder = folder.absolute()
        self._warn = warn
        self._is_usable = True

    def path_of(self, act_id: str) -> Path:
        """Return the file of an event."""
        return self._folder / f"{act_id}.json"

    def save(self, act: KillEvent) -> None:
        """Save an event in its current state."""
        if not self._is_usable:
            return
        try:
            replace_file(self.path_of(act.event_id), json.dumps(act.to_json()))
        except OSError as error:
            self._is_usable = False
            self._warn(
                f"{self._folder} cannot be written ({error.strerror}): what is done now is only recorded at the end"
            )

    def contains(self, act: KillEvent) -> bool:
        """Return whether an event is saved here."""
        return self.path_of(act.event_id).exists()

    def remove(self, act_id: str) -> None:
        """Remove an event that is recorded."""
        self.path_of(act_id).unlink(missing_ok=True)

    def list_unrecorded(self) -> list[dict[str, Any]]:
        """Return the events of earlier runs that are not recorded, the newest first."""
        acts: list[dict[str, Any]] = []
        for path in self._folder.glob("*.json"):
            try:
                act = cast("object", json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                self._warn(f"{path} cannot be read")
                continue
            if isinstance(act, dict):
                acts.append(cast("dict[str, Any]", act))
        return sorted(acts, key=lambda act: str(act.get("started_at")), reverse=True)


PATH = "/site/1.0.0/kills"
_PAGE = 100
_MOST_PAGES = 5


class KillAuditLog:
    """Audit log of one site, through the gateway: SiteAPI with a token of the application Operator.

    Args:
        http: HTTP client.
        gateway_url: base of the gateway.
        token: of the application Operator.
    """

    def __init__(self, http: HttpClient, gateway_url: str, token: Token) -> None:
        self._http = http
        self._url = gateway_url + PATH
        self._identity = Identity.from_token("Operator", token.access_token)

    def add(self, act: Mapping[str, Any]) -> dict[str, Any]:
        """Record an event; the same one is recorded only once.

        Raises:
            ProvisioningError: it could not be recorded.
        """
        return parse_json_object(self._http.call("POST", self._url, self._identity, accept=(200, 201), json=dict(act)))

    def list_newest(self) -> list[dict[str, Any]]:
        """Return the newest 500 events, the newest first.

        Raises:
            ProvisioningError: the log cannot be read.
        """
        acts: list[dict[str, Any]] = []
        before: int | None = None
        for _ in range(_MOST_PAGES):
            query = {"limit": str(_PAGE)} | ({} if before is None else {"before": str(before)})
            page = parse_json_object(self._http.call("GET", self._url, self._identity, params=query))
            acts += cast("list[dict[str, Any]]", page.get("kills") or [])
            before = page.get("next_before")
            if before is None:
                break
        return acts


Report = Callable[[str], None]
StepResult = tuple[StepOutcome, str]


class StepRunner:
    """Runs the steps of one event.

    Args:
        act: event to which the steps are added.
        journal: saves the event after each step.
        say: prints a line.
        began: start of the command, in `time.monotonic` [s].
    """

    def __init__(self, act: KillEvent, journal: EventJournal, say: Report, began: float) -> None:
        self.event = act
        self.is_interrupted = False
        self._journal = journal
        self._say = say
        self._began = began

    @property
    def elapsed_s(self) -> float:
        """Time since the command was given [s]."""
        return round(time.monotonic() - self._began, 3)

    def run_step(self, name: str, do: Callable[[], StepResult], *, is_last: bool = False) -> bool:
        """Run a step; Ctrl-C ends it and skips the others except the last.

        Args:
            name: of the step.
            do: carries it out and returns its outcome and a detail.
            is_last: run after Ctrl-C as well.

        Returns:
            Whether the required state is reached.
        """
        began = time.monotonic()
        if self.is_interrupted and not is_last:
            outcome, detail = "skipped", "stopped by Ctrl-C"
        else:
            try:
                outcome, detail = do()
            except EvError as error:
                outcome, detail = "failed", error.message
            except KeyboardInterrupt:
                self.is_interrupted = True
                outcome, detail = "failed", "stopped by Ctrl-C; this step may have been done all the same"
        took_s = round(time.monotonic() - began, 3)
        self.event.steps.append(Step(name, outcome, took_s, to_one_line(detail)))
        if not is_last:
            self._journal.save(self.event)
        self._say(f"{self.elapsed_s:7.3f} s  {name:<32} {outcome:<8} {detail}")
        return outcome in ("done", "already")
