"""Common parts of the REST APIs: authentication, delay of wrong credentials, request bodies, pages and errors.

Source: WSO2 API Manager 4.6 (rest.api.util): a call needs one of an operation's scopes, by bearer token or by the
roles of a user with HTTP Basic; errors are `{code, message, description, moreInfo, error}` with an integer code.
"""

import binascii
import json
import logging
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar, cast

from aiohttp import web
from aiohttp.typedefs import Middleware
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from ev_service.clock import Clock
from local_gateway.oauth import REVOKE_PATH, TOKEN_PATH
from local_gateway.serving import delay_response, prove_connection
from local_gateway.state import GatewayState, Store
from local_gateway.tokens import TokenService
from local_gateway.users import UserStore, list_rest_scopes
from wso2_terms.deployment import DeploymentSettings

_logger = logging.getLogger(__name__)

_IS_AUTHENTICATED = web.RequestKey("credentials_are_accepted", bool)
_UNDELAYED_FAILURES = 5
_FORGET_AFTER_S = 60.0
_MAX_ADDRESSES = 1024


@dataclass(slots=True)
class _Failures:
    count: int
    last_s: float
    next_s: float


class LoginDelays:
    """Recent failed logins by address.

    Failed logins of one address are answered one after the other, so that many connections cannot guess faster than
    one.

    Args:
        step_s: Time between two delayed answers [s].
        longest_s: Longest delay [s].
    """

    def __init__(self, step_s: float = 0.5, longest_s: float = 5.0) -> None:
        self._step_s = step_s
        self._longest_s = longest_s
        self._by_address: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_address)

    def record_failure(self, address: str, now_s: float) -> float:
        """Count a failed login and return the delay of its answer [s].

        Args:
            address: Address of the client.
            now_s: Monotonic time [s].
        """
        failures = self._by_address.pop(address, None)
        if failures is None or now_s - failures.last_s > _FORGET_AFTER_S:
            failures = _Failures(0, now_s, now_s)
        self._by_address[address] = failures
        while len(self._by_address) > _MAX_ADDRESSES:
            self._by_address.popitem(last=False)
        failures.count += 1
        failures.last_s = now_s
        if failures.count <= _UNDELAYED_FAILURES:
            return 0.0
        failures.next_s = min(max(failures.next_s, now_s) + self._step_s, now_s + self._longest_s)
        return failures.next_s - now_s


def mark_authenticated(request: web.Request) -> None:
    """Mark the request's credentials as correct, whatever its answer will be."""
    request[_IS_AUTHENTICATED] = True
    prove_connection(request)


def create_delay_middleware(failures: LoginDelays) -> Middleware:
    """Create the middleware that delays the answers to wrong credentials."""

    @web.middleware
    async def answer(request: web.Request, handler: PlainHandler) -> web.StreamResponse:
        response = await handler(request)
        if _is_failed_login(request, response):
            delay_s = failures.record_failure(request.remote or "", time.monotonic())
            if delay_s > 0:
                await delay_response(request, delay_s)
        return response

    return answer


def _is_failed_login(request: web.Request, response: web.StreamResponse) -> bool:
    if request.get(_IS_AUTHENTICATED):
        return False
    if request.path not in (TOKEN_PATH, REVOKE_PATH):
        # A request without credentials is not a login attempt.
        return response.status == 401 and "Authorization" in request.headers
    # OAuth reports a user's wrong password as `invalid_grant`.
    is_wrong_grant = isinstance(response, web.Response) and '"invalid_grant"' in (response.text or "")
    return response.status == 401 or is_wrong_grant


GENERAL_ERROR = 900967
"""WSO2's code of an internal error."""

DEFAULT_PAGE = 25


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated caller of a REST API."""

    name: str
    """Name of the user."""

    scopes: frozenset[str]
    """Scopes of the token, or of the user's roles."""


@dataclass(frozen=True, slots=True)
class ManagementContext:
    """State and services that the management operations use."""

    store: Store
    users: UserStore
    tokens: TokenService
    clock: Clock
    deployment: DeploymentSettings

    @property
    def state(self) -> GatewayState:
        return self.store.state

    def now_ms(self) -> int:
        """Return the current time [ms since epoch], WSO2's form of timestamps."""
        return int(self.clock.now().timestamp() * 1000)


class RestError(Exception):
    """An error response in the format of WSO2's REST APIs."""

    def __init__(self, status: int, description: str, *, code: int | None = None, message: str | None = None) -> None:
        """Create an error.

        Args:
            status: HTTP status.
            description: What is wrong.
            code: WSO2's six-digit number, None for the HTTP status.
            message: Title of the error, None for the phrase of the HTTP status.
        """
        super().__init__(description)
        self.status = status
        self.code = status if code is None else code
        self.message = HTTPStatus(status).phrase if message is None else message
        self.description = description

    @classmethod
    def conflict(cls, description: str, code: int = 409) -> "RestError":
        """Create WSO2's 409 for an object that exists already."""
        return cls(409, description, code=code, message="Resource Already Exists")

    @classmethod
    def not_found(cls, kind: str, object_id: str) -> "RestError":
        """Create WSO2's 404 for an unknown object."""
        return cls(404, f"Requested {kind} with Id '{object_id}' not found")

    @classmethod
    def general(cls, description: str) -> "RestError":
        """Create WSO2's internal error; WSO2 only logs the reason, here the answer has it as well."""
        return cls(500, description, code=GENERAL_ERROR, message="General Error")

    def build_response(self) -> web.Response:
        """Return the error as a response."""
        body: dict[str, object] = {
            "code": self.code,
            "message": self.message,
            "description": self.description,
            "moreInfo": "",
            "error": [],
        }
        return web.json_response(body, status=self.status)


Handler = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]
PlainHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RouteTable:
    """Collects the routes of one REST API with the scopes that they require."""

    def __init__(self, context: ManagementContext, base: str) -> None:
        self._context = context
        self._base = base
        self.definitions: list[web.RouteDef] = []

    def add(self, verb: str, path: str, handler: Handler, scopes: Sequence[str]) -> None:
        """Add an operation.

        Args:
            verb: HTTP method.
            path: Path below the API's base; `{…}` marks parameters.
            handler: Called with request and caller.
            scopes: Scopes of which the caller needs one.
        """

        async def handle(request: web.Request) -> web.StreamResponse:
            return await handler(request, authenticate(self._context, request, scopes))

        self.definitions.append(web.route(verb, self._base + path, handle))


def authenticate(context: ManagementContext, request: web.Request, scopes: Sequence[str]) -> Caller:
    """Return the caller.

    Raises:
        RestError: 401, wrong credentials or missing scope.
    """
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    caller: Caller | None = None
    if scheme.lower() == "bearer":
        token = context.tokens.verify(credentials.strip())
        if token is not None and context.tokens.is_valid(token, context.clock.now()):
            caller = Caller(token.user, token.scopes)
    elif scheme.lower() == "basic":
        caller = _find_basic_caller(context, credentials)
    if caller is not None:
        mark_authenticated(request)
    if caller is None or caller.scopes.isdisjoint(scopes):
        raise RestError(401, "Unauthenticated request", message="")
    return caller


def authenticate_basic(context: ManagementContext, request: web.Request) -> str | None:
    """Return the user that a request authenticates by HTTP Basic, None if the credentials are wrong or absent."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    caller = _find_basic_caller(context, credentials) if scheme.lower() == "basic" else None
    if caller is None:
        return None
    mark_authenticated(request)
    return caller.name


def _find_basic_caller(context: ManagementContext, credentials: str) -> Caller | None:
    try:
        # The password can contain a colon, the name cannot.
        name, _, password = b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    if not context.users.verify(name, password):
        return None
    return Caller(name, list_rest_scopes(context.users.get_roles(name)))


class Payload(BaseModel):
    """Base of request bodies; fields that this gateway does not use are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", validate_by_name=True)


P = TypeVar("P", bound=BaseModel)


async def read_payload(request: web.Request, model: type[P]) -> P:
    """Read a JSON body into a model.

    Raises:
        RestError: 400, not JSON or not of the expected form; names the field, never its value.
    """
    return parse_value(await read_json(request), model)


async def read_json(request: web.Request) -> object:
    """Read a JSON body.

    Raises:
        RestError: 400, not JSON.
    """
    try:
        return cast("object", json.loads(await request.text()))
    except ValueError as error:
        raise RestError(400, "The body is not JSON") from error


def parse_value(value: object, model: type[P]) -> P:
    """Parse a JSON value into a model.

    Raises:
        RestError: 400, not of the expected form; names the field, never its value.
    """
    try:
        # Validated from JSON text, because a strict model accepts a list for a tuple only there.
        return model.model_validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "(body)"
        raise RestError(400, f"{field}: {first['msg']}") from error


def paginate(request: web.Request, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one page of a list, selected by `limit` and `offset` of the request.

    Raises:
        RestError: 400, limit or offset is not an integer.
    """
    try:
        limit, offset = int(request.query.get("limit", DEFAULT_PAGE)), int(request.query.get("offset", 0))
    except ValueError as error:
        raise RestError(400, "limit and offset are whole numbers") from error
    shown = items[max(offset, 0) :][: max(limit, 0)]
    return {
        "count": len(shown),
        "list": shown,
        "pagination": {"offset": offset, "limit": limit, "total": len(items), "next": "", "previous": ""},
    }


def read_flag(request: web.Request, name: str, *, default: bool) -> bool:
    """Return a boolean query parameter."""
    return request.query.get(name, str(default)).lower() == "true"


@web.middleware
async def handle_errors(request: web.Request, handler: PlainHandler) -> web.StreamResponse:
    """Convert every rejection and every internal failure to WSO2's error format."""
    try:
        return await handler(request)
    except RestError as error:
        return error.build_response()
    except web.HTTPException as error:
        return RestError(error.status, error.reason).build_response()
    except (ConnectionError, web.RequestPayloadError):
        # The client disconnected before the end of its body, so it does not get this answer.
        return RestError(400, "The body is not complete").build_response()
    except Exception:
        _logger.exception("management call failed", extra={"method": request.method, "path": request.path})
        return RestError.general("Server Error Occurred").build_response()
