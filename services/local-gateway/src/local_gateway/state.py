"""Persistent state: users, clients, applications, APIs, MCP servers, policies, tokens.

It is one JSON document, written completely and atomically after each change. Life cycle states and the policies of the
first start are those of WSO2.
Source: WSO2 API Manager 4.6, default API life cycle; APIConstants, APIUtil: default policies.
"""

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ev_service.errors import ConfigurationError
from ev_service.files import replace_file
from wso2_terms.policies import PolicyKind

KeyType = Literal["PRODUCTION", "SANDBOX"]
SubscriptionStatus = Literal["UNBLOCKED", "BLOCKED", "PROD_ONLY_BLOCKED"]
Document = dict[str, Any]
"""A JSON object in WSO2's format."""


class Record(BaseModel):
    """Base of all stored objects."""

    model_config = ConfigDict(extra="forbid")


class User(Record):
    """A user other than the administrator."""

    name: str
    password: str
    """Salted scrypt hash."""

    roles: list[str] = []


class OAuthClient(Record):
    """A consumer key. The secret is stored in clear text, because WSO2 returns it again."""

    client_id: str
    client_secret: str
    name: str
    owner: str
    """User on whose behalf client credentials are granted."""

    grant_types: list[str]
    callback_url: str = ""
    application_id: str | None = None
    """The application, None for a client of dynamic client registration."""

    key_mapping_id: str = ""
    key_type: KeyType = "PRODUCTION"
    validity_s: int = 3600
    """Lifetime of its tokens [s]."""


class Application(Record):
    """An application of the Developer Portal."""

    application_id: str
    number: int
    """Short id in backend JWTs."""

    name: str
    owner: str
    throttling_policy: str
    description: str = ""
    created_at_ms: int
    """Creation time [ms since epoch]."""

    updated_at_ms: int
    """Time of the last change [ms since epoch]."""


class Subscription(Record):
    """Subscription of an application to an API or MCP server."""

    subscription_id: str
    application_id: str
    api_id: str
    """Id of the API or MCP server."""

    throttling_policy: str
    """Name of the business plan."""

    status: SubscriptionStatus = "UNBLOCKED"


class Revision(Record):
    """An immutable copy of an API or MCP server; only revisions are deployed."""

    revision_id: str
    number: int
    """Number of the revision, starting at 1."""

    description: str
    created_at_ms: int
    """Creation time [ms since epoch]."""

    data: Document
    definition: Document = {}
    """OpenAPI document of an API, empty for an MCP server."""

    environments: list[Document] = []
    """Gateway environments that it is deployed to, empty for none."""


class ProductRecord(Record):
    """The working copy of an API or MCP server with its revisions."""

    provider: str
    lifecycle: str
    data: Document
    """The object in the Publisher's format."""

    definition: Document = {}
    """OpenAPI document of an API, empty for an MCP server."""

    revisions: list[Revision] = []
    revisions_made: int = 0
    """Number of revisions ever created."""

    created_at_ms: int
    """Creation time [ms since epoch]."""

    updated_at_ms: int
    """Time of the last change [ms since epoch]."""

    @property
    def product_id(self) -> str:
        """Id in subscriptions and URLs."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def version(self) -> str:
        return str(self.data["version"])

    @property
    def context(self) -> str:
        """Context with the version, as the gateway serves it."""
        return f"{self.data['context']}/{self.version}"

    @property
    def deployed_revision(self) -> Revision | None:
        """The revision that the gateway serves, None if there is none."""
        return next((revision for revision in self.revisions if revision.environments), None)


class ApiRecord(ProductRecord):
    """An API; `data` has the format of `data` in api.yaml."""

    api_id: str

    @property
    def product_id(self) -> str:
        return self.api_id


class McpServerRecord(ProductRecord):
    """An MCP server; `data` is WSO2's MCPServer, each tool with name, description and stored schema."""

    server_id: str

    @property
    def product_id(self) -> str:
        return self.server_id


class PolicyRecord(Record):
    """A throttling policy in the format of the Admin REST API."""

    policy_id: str
    kind: str
    """Value of `PolicyKind`."""

    data: Document
    is_shipped: bool = False
    """It exists from the first start."""

    @property
    def name(self) -> str:
        return str(self.data["policyName"])


class DenyPolicy(Record):
    """A deny policy (blocking condition)."""

    condition_id: str
    condition_type: str
    condition_value: str | Document
    """A text, or an object for IP conditions."""

    is_enabled: bool = True


class LiveToken(Record):
    """The valid token of a client, user and set of scopes; there is at most one."""

    jti: str
    expires_at_s: int
    """Expiry [s since epoch]."""


class GatewayState(Record):
    """Everything that survives a restart."""

    format: Literal[1] = 1
    issuer: str = ""
    """Issuer of the tokens, set at the first start as in WSO2."""

    roles: set[str] = set()
    users: dict[str, User] = {}
    clients: dict[str, OAuthClient] = {}
    applications: dict[str, Application] = {}
    applications_made: int = 0
    """Number of applications ever created."""

    subscriptions: dict[str, Subscription] = {}
    apis: dict[str, ApiRecord] = {}
    mcp_servers: dict[str, McpServerRecord] = {}
    policies: dict[str, PolicyRecord] = {}
    deny_policies: dict[str, DenyPolicy] = {}
    live_tokens: dict[str, LiveToken] = {}
    """Valid tokens by client, user and scopes."""

    revoked: dict[str, int] = Field(default={}, description="Expiry [s since epoch] by jti.")

    def products(self) -> tuple[ProductRecord, ...]:
        """Return every API and every MCP server."""
        return (*self.apis.values(), *self.mcp_servers.values())


class Store:
    """Holds the state of this process and writes it to its file."""

    def __init__(self, state: GatewayState, file: Path | None) -> None:
        self.state = state
        self.generation = 0
        self._file = file

    @classmethod
    def open(cls, folder: Path | None) -> "Store":
        """Read the state of an earlier process, or start with an empty one.

        Args:
            folder: Created if absent; None keeps the state in memory only.

        Raises:
            ConfigurationError: The folder or file cannot be used; a broken file is never overwritten.
        """
        if folder is None:
            return cls(GatewayState(), None)
        file = folder / "state.json"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            text = file.read_text(encoding="utf-8") if file.exists() else "{}"
            state = GatewayState.model_validate_json(text)
        except (OSError, ValidationError) as error:
            raise ConfigurationError(f"state {file} cannot be read: {type(error).__name__}") from error
        return cls(state, file)

    def save(self, *, affects_routing: bool = True) -> None:
        """Write the state after a change.

        Args:
            affects_routing: Whether the data path has to build a new snapshot; token changes do not need one.
        """
        if affects_routing:
            self.generation += 1
        if self._file is None:
            return
        # Not durable: every issued token saves the state, and a lost one is only requested again.
        replace_file(self._file, self.state.model_dump_json(), is_durable=False)


CREATED, PUBLISHED, BLOCKED, RETIRED = "CREATED", "PUBLISHED", "BLOCKED", "RETIRED"
PROTOTYPED, DEPRECATED = "PROTOTYPED", "DEPRECATED"

_LIFECYCLE_TRANSITIONS: Mapping[str, Mapping[str, str]] = {
    CREATED: {"Publish": PUBLISHED, "Deploy as a Prototype": PROTOTYPED},
    PROTOTYPED: {"Publish": PUBLISHED, "Demote to Created": CREATED},
    PUBLISHED: {
        "Block": BLOCKED,
        "Demote to Created": CREATED,
        "Deploy as a Prototype": PROTOTYPED,
        "Deprecate": DEPRECATED,
    },
    BLOCKED: {"Re-Publish": PUBLISHED, "Deprecate": DEPRECATED},
    DEPRECATED: {"Retire": RETIRED},
    RETIRED: {},
}

SUBSCRIBABLE = frozenset({PUBLISHED, PROTOTYPED})
"""States in which applications can subscribe."""


def list_lifecycle_transitions(state: str) -> dict[str, str]:
    """Return the possible actions and the state that each leads to."""
    return dict(_LIFECYCLE_TRANSITIONS[state])


def find_lifecycle_target(state: str, action: str) -> str | None:
    """Return the state that an action leads to, None if it is not possible."""
    return _LIFECYCLE_TRANSITIONS[state].get(action)


def format_lifecycle_state(state: str) -> str:
    """Return the state as the REST API writes it.

    >>> format_lifecycle_state("PUBLISHED")
    'Published'
    """
    return state.capitalize()


UNLIMITED = "Unlimited"

_SHIPPED_POLICIES: Mapping[PolicyKind, Mapping[str, int]] = {
    PolicyKind.SUBSCRIPTION: {"Gold": 5000, "Silver": 2000, "Bronze": 1000, "Unauthenticated": 500},
    PolicyKind.ADVANCED: {"10KPerMin": 10_000, "20KPerMin": 20_000, "50KPerMin": 50_000},
    PolicyKind.APPLICATION: {"10PerMin": 10, "20PerMin": 20, "50PerMin": 50},
}
# The policy models cannot express "no limit"; this count, which no caller reaches, stands for it.
NO_LIMIT = 2**31 - 1

POLICY_TYPES = {
    PolicyKind.SUBSCRIPTION: "SubscriptionThrottlePolicy",
    PolicyKind.ADVANCED: "AdvancedThrottlePolicy",
    PolicyKind.APPLICATION: "ApplicationThrottlePolicy",
}
"""Value of `type` in the Admin REST API by kind of policy."""


def create_default_policies() -> Iterator[PolicyRecord]:
    """Create the policies that exist from the first start."""
    for kind, counts in _SHIPPED_POLICIES.items():
        for name, count in {UNLIMITED: NO_LIMIT, **counts}.items():
            yield PolicyRecord(
                policy_id=str(uuid.uuid4()),
                kind=kind.value,
                data=_build_default_policy(kind, name, count),
                is_shipped=True,
            )


def _build_default_policy(kind: PolicyKind, name: str, count: int) -> Document:
    limit: Document = {"timeUnit": "min", "unitTime": 1, "requestCount": count}
    data: Document = {
        "policyName": name,
        "displayName": name,
        "description": f"Allows {count} requests per minute" if count != NO_LIMIT else "Allows unlimited requests",
        "defaultLimit": {"type": "REQUESTCOUNTLIMIT", "requestCount": limit},
    }
    return data | ({"stopOnQuotaReach": True} if kind is PolicyKind.SUBSCRIPTION else {})
