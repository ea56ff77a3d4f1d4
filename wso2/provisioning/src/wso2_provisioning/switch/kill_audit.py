"""Audit of kills and revives: the event, the local journal of unrecorded events, and the log behind SiteAPI."""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

from ev_service.errors import ConfigurationError
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
    """One step, and how it ended. took_s [s]."""

    name: str
    outcome: StepOutcome
    took_s: float
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class GatewayChange:
    """One thing at the gateway that a kill made, or a revive undid; `id` is the gateway's.

    Of a key, whose tokens a kill revoked, `id` is what tells it from any other; see `key_id`.
    """

    kind: str
    id: str
    name: str


@dataclass(slots=True)
class KillEvent:
    """An act under way. scope: all that the application may do, or setting limits on chargers alone."""

    kind: EventKind
    reason: str
    operator: str
    started_at: datetime
    scope: KillScope = "all"
    application: str = EVAPP.name
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    steps: list[Step] = field(default_factory=list[Step])
    changes: list[GatewayChange] = field(default_factory=list[GatewayChange])
    gateway_refused_after_s: float | None = None
    agent_stopped_after_s: float | None = None
    agent_decides_after_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The act as SiteAPI takes it."""
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
    """Accept why an act is done.

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
    """Accept what an act is about; nothing said means all.

    Raises:
        ConfigurationError: it is another word.
    """
    match text or "all":
        case "all" | "control" as scope:
            return scope
        case _:
            raise ConfigurationError("SCOPE must be all (the default) or control (setting limits on chargers alone)")


def to_one_line(text: str, longest: int = _LONGEST_DETAIL) -> str:
    """A text as the record takes it: its control characters are blanks, and it is cut to what fits."""
    return _CONTROL.sub(" ", text).strip()[:longest] or "?"


def format_operator_name(text: str) -> str:
    """Who acts, as the record takes it."""
    return to_one_line(text, _LONGEST_NAME)


@dataclass(frozen=True, slots=True)
class RecordedChanges:
    """What acts say of the gateway. made: by kills, and not undone since, by id. known: every id that an act names."""

    unreverted: Mapping[str, GatewayChange]
    known_ids: frozenset[str]


def collect_changes(acts: Iterable[Mapping[str, Any]]) -> RecordedChanges:
    """Read recorded acts.

    Args:
        acts: the newest first.
    """
    known: set[str] = set()
    made: dict[str, GatewayChange] = {}
    for act in acts:
        for change in cast("list[dict[str, Any]]", act.get("changes") or []):
            changed = str(change.get("id"))
            if changed not in known and act.get("kind") == "kill":
                made[changed] = GatewayChange(str(change.get("kind")), changed, str(change.get("name")))
            known.add(changed)
    return RecordedChanges(made, frozenset(known))


def compute_key_id(credentials: ClientCredentials) -> str:
    """What tells one key from another, its secret included, and gives the secret away to nobody."""
    digest = hashlib.sha256(credentials.client_secret.get_secret_value().encode()).hexdigest()
    return f"{credentials.client_id}:{digest[:_DIGITS]}"


class EventJournal:
    """One file for each act that is not recorded yet.

    Args:
        folder: where they are.
        warn: told, once, that nothing can be kept there; the act goes on all the same.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self._folder = folder.absolute()
        self._warn = warn
        self._is_usable = True

    def path_of(self, act_id: str) -> Path:
        """Where an act is kept."""
        return self._folder / f"{act_id}.json"

    def save(self, act: KillEvent) -> None:
        """Write down how far an act is."""
        if not self._is_usable:
            return
        path = self.path_of(act.event_id)
        draft = path.with_suffix(".draft")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                json.dump(act.to_json(), file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            self._is_usable = False
            self._warn(
                f"{self._folder} can not be written ({error.strerror}): what is done now is only recorded at the end"
            )

    def contains(self, act: KillEvent) -> bool:
        """Tell whether an act is written down here."""
        return self.path_of(act.event_id).exists()

    def remove(self, act_id: str) -> None:
        """Remove an act that is recorded."""
        self.path_of(act_id).unlink(missing_ok=True)

    def list_unrecorded(self) -> list[dict[str, Any]]:
        """Acts of earlier runs that are not recorded, the newest first."""
        acts: list[dict[str, Any]] = []
        for path in self._folder.glob("*.json"):
            try:
                act = cast("object", json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                self._warn(f"{path} can not be read")
                continue
            if isinstance(act, dict):
                acts.append(cast("dict[str, Any]", act))
        return sorted(acts, key=lambda act: str(act.get("started_at")), reverse=True)


PATH = "/site/1.0.0/kills"
_PAGE = 100
_MOST_PAGES = 5


class KillAuditLog:
    """The record of one site.

    Args:
        http: how to reach the gateway.
        gateway_url: base of the gateway.
        token: of the application Operator.
    """

    def __init__(self, http: HttpClient, gateway_url: str, token: Token) -> None:
        self._http = http
        self._url = gateway_url + PATH
        self._identity = Identity.from_token("Operator", token.access_token)

    def add(self, act: Mapping[str, Any]) -> dict[str, Any]:
        """Record an act; the same one twice is recorded once.

        Raises:
            ProvisioningError: it is not recorded.
        """
        return parse_json_object(self._http.call("POST", self._url, self._identity, accept=(200, 201), json=dict(act)))

    def list_newest(self) -> list[dict[str, Any]]:
        """The newest five hundred acts, the newest first.

        Raises:
            ProvisioningError: the record can not be read.
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
