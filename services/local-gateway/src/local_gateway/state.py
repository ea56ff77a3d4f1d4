"""What the local gateway remembers: users, clients, applications, APIs, MCP servers, policies, revoked tokens.

One document, written whole and atomically after each change. Knows no HTTP and decides nothing.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ev_service.errors import ConfigurationError
from ev_service.files import replace_file

KeyType = Literal["PRODUCTION", "SANDBOX"]
SubscriptionStatus = Literal["UNBLOCKED", "BLOCKED", "PROD_ONLY_BLOCKED"]
Document = dict[str, Any]
"""A JSON object whose fields are WSO2's, not ours."""


class Record(BaseModel):
    """Base of what is remembered."""

    model_config = ConfigDict(extra="forbid")


class User(Record):
    """Someone with a password and roles; `password` is a salted hash."""

    name: str
    password: str
    roles: list[str] = []


class OAuthClient(Record):
    """A consumer key and what it may be used for.

    owner: the user in whose name client credentials are granted. application_id: None for a client made by DCR.
    validity_s [s]: lifetime of its tokens. The secret is kept in clear, because WSO2 gives it out again.
    """

    client_id: str
    client_secret: str
    name: str
    owner: str
    grant_types: list[str]
    callback_url: str = ""
    application_id: str | None = None
    key_mapping_id: str = ""
    key_type: KeyType = "PRODUCTION"
    validity_s: int = 3600


class Application(Record):
    """An application of the Developer Portal; `number` is the short id that backend JWTs carry."""

    application_id: str
    number: int
    name: str
    owner: str
    throttling_policy: str
    description: str = ""
    created_at_ms: int
    updated_at_ms: int


class Subscription(Record):
    """One application's right to call one API or MCP server (`api_id` either way) under one plan."""

    subscription_id: str
    application_id: str
    api_id: str
    throttling_policy: str
    status: SubscriptionStatus = "UNBLOCKED"


class Revision(Record):
    """A frozen copy of an API or MCP server; what is deployed is always one of these.

    definition: empty for an MCP server. environments: those of the gateway to which it is deployed, empty for none.
    """

    revision_id: str
    number: int
    description: str
    created_at_ms: int
    data: Document
    definition: Document = {}
    environments: list[Document] = []


class ProductRecord(Record):
    """What a publisher offers: the working copy of an API or MCP server with its revisions.

    definition: an API's OpenAPI document; empty for an MCP server.
    """

    provider: str
    lifecycle: str
    data: Document
    definition: Document = {}
    revisions: list[Revision] = []
    revisions_made: int = 0
    created_at_ms: int
    updated_at_ms: int

    @property
    def product_id(self) -> str:
        """The id that subscriptions and addresses name."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def version(self) -> str:
        return str(self.data["version"])

    @property
    def context(self) -> str:
        """The context as the gateway serves it, with the version."""
        return f"{self.data['context']}/{self.version}"

    @property
    def deployed_revision(self) -> Revision | None:
        """The revision that the gateway serves."""
        return next((revision for revision in self.revisions if revision.environments), None)


class ApiRecord(ProductRecord):
    """An API; `data` is what api.yaml holds under `data`."""

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
    """A throttling policy as it is given in and out."""

    policy_id: str
    kind: str
    data: Document
    is_shipped: bool = False

    @property
    def name(self) -> str:
        return str(self.data["policyName"])


class DenyPolicy(Record):
    """A blocking condition; the value is a text, or an object for IP conditions."""

    condition_id: str
    condition_type: str
    condition_value: str | Document
    is_enabled: bool = True


class LiveToken(Record):
    """The one token of a client, user and set of scopes that still counts."""

    jti: str
    expires_at_s: int


class GatewayState(Record):
    """Everything that outlives a restart.

    issuer: fixed at the first start, as in WSO2. live_tokens: by client, user and scopes. revoked: expiry [s] by jti.
    """

    format: Literal[1] = 1
    issuer: str = ""
    roles: set[str] = set()
    users: dict[str, User] = {}
    clients: dict[str, OAuthClient] = {}
    applications: dict[str, Application] = {}
    applications_made: int = 0
    subscriptions: dict[str, Subscription] = {}
    apis: dict[str, ApiRecord] = {}
    mcp_servers: dict[str, McpServerRecord] = {}
    policies: dict[str, PolicyRecord] = {}
    deny_policies: dict[str, DenyPolicy] = {}
    live_tokens: dict[str, LiveToken] = {}
    revoked: dict[str, int] = Field(default={}, description="Expiry [s since epoch] by jti.")

    def products(self) -> tuple[ProductRecord, ...]:
        """Every API and every MCP server."""
        return (*self.apis.values(), *self.mcp_servers.values())


class Store:
    """Holds the state of this process and writes it down.

    `generation` grows with each change, so that whoever derives something from the state knows when it is old.
    """

    def __init__(self, state: GatewayState, file: Path | None) -> None:
        self.state = state
        self.generation = 0
        self._file = file

    @classmethod
    def open(cls, folder: Path | None) -> "Store":
        """Read the state that an earlier process left, or begin with an empty one.

        Args:
            folder: made when absent; None keeps everything in memory.

        Raises:
            ConfigurationError: the folder or file can not be used; a broken file is never overwritten.
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
        """Write the state down after a change.

        Args:
            affects_routing: Whether the data path has to build a new snapshot; token changes do not need one.
        """
        if affects_routing:
            self.generation += 1
        if self._file is None:
            return
        # Not durable: every issued token saves the state, and a lost one is only requested again.
        replace_file(self._file, self.state.model_dump_json(), is_durable=False)
