"""What all REST APIs have in common: who calls, what they may do, how an error looks.

Source: WSO2 API Manager 4.6 (rest.api.util): a call needs one of an operation's scopes, by bearer token or by the
roles of a user who comes with HTTP Basic; errors are `{code, message, description, moreInfo, error}` with an integer.
"""

import binascii
import json
import logging
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar, cast

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from ev_service.clock import Clock
from local_gateway.management.login_delay import mark_authenticated
from local_gateway.scopes import list_rest_scopes
from local_gateway.state import GatewayState, Store
from local_gateway.tokens import TokenService
from local_gateway.users import UserStore
from wso2_terms.deployment import DeploymentSettings

_logger = logging.getLogger(__name__)

GENERAL_ERROR = 900967
DEFAULT_PAGE = 25


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a REST call, and the scopes that let them."""

    name: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class ManagementContext:
    """What every management call works with."""

    store: Store
    users: UserStore
    tokens: TokenService
    clock: Clock
    deployment: DeploymentSettings

    @property
    def state(self) -> GatewayState:
        return self.store.state

    def now_ms(self) -> int:
        """The run's time [ms since epoch], the form in which WSO2 tells when something was made."""
        return int(self.clock.now().timestamp() * 1000)


class RestError(Exception):
    """An answer that says no, in the form of WSO2's REST APIs.

    code: WSO2's six-digit number, else the HTTP status.
    """

    def __init__(self, status: int, description: str, *, code: int | None = None, message: str | None = None) -> None:
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
    """Collects the operations of one REST API, each with the scopes of which a caller needs one."""

    def __init__(self, context: ManagementContext, base: str) -> None:
        self._context = context
        self._base = base
        self.definitions: list[web.RouteDef] = []

    def add(self, verb: str, path: str, handler: Handler, scopes: Sequence[str]) -> None:
        """Offer an operation.

        Args:
            verb: HTTP method.
            path: below the API's base, with `{…}` for parts that vary.
            handler: called with request and caller.
            scopes: one of them is enough.
        """

        async def handle(request: web.Request) -> web.StreamResponse:
            return await handler(request, authenticate(self._context, request, scopes))

        self.definitions.append(web.route(verb, self._base + path, handle))


def authenticate(context: ManagementContext, request: web.Request, scopes: Sequence[str]) -> Caller:
    """Say who calls.

    Raises:
        RestError: 401, nobody that may do this.
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
    """The user whose right password the call carries by HTTP Basic."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    caller = _find_basic_caller(context, credentials) if scheme.lower() == "basic" else None
    if caller is None:
        return None
    mark_authenticated(request)
    return caller.name


def _find_basic_caller(context: ManagementContext, credentials: str) -> Caller | None:
    try:
        # The password may hold a colon; the name may not.
        name, _, password = b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    if not context.users.verify(name, password):
        return None
    return Caller(name, list_rest_scopes(context.users.get_roles(name)))


class Payload(BaseModel):
    """Base of what callers send; fields that this stand-in has no use for are passed over."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", validate_by_name=True)


P = TypeVar("P", bound=BaseModel)


async def read_payload(request: web.Request, model: type[P]) -> P:
    """Read a JSON body.

    Raises:
        RestError: 400, not JSON or not of this form; names the field, never its value.
    """
    return parse_value(await read_json(request), model)


async def read_json(request: web.Request) -> object:
    """Read a JSON body, whatever its form.

    Raises:
        RestError: 400, not JSON.
    """
    try:
        return cast("object", json.loads(await request.text()))
    except ValueError as error:
        raise RestError(400, "The body is not JSON") from error


def parse_value(value: object, model: type[P]) -> P:
    """Turn a JSON value into its model.

    Raises:
        RestError: 400, not of this form; names the field, never its value.
    """
    try:
        # By way of JSON, which is what callers send: a strict model takes a list for a tuple from JSON alone.
        return model.model_validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "(body)"
        raise RestError(400, f"{field}: {first['msg']}") from error


def paginate(request: web.Request, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One page of a list, as `limit` and `offset` of the request ask.

    Raises:
        RestError: 400, a limit or offset that is none.
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
    """A query parameter that is true or false."""
    return request.query.get(name, str(default)).lower() == "true"


@web.middleware
async def handle_errors(request: web.Request, handler: PlainHandler) -> web.StreamResponse:
    """Give every refusal, and every failure of ours, WSO2's form."""
    try:
        return await handler(request)
    except RestError as error:
        return error.build_response()
    except web.HTTPException as error:
        return RestError(error.status, error.reason).build_response()
    except (ConnectionError, web.RequestPayloadError):
        # The client left before the end of its body; nobody reads this.
        return RestError(400, "The body is not complete").build_response()
    except Exception:
        _logger.exception("management call failed", extra={"method": request.method, "path": request.path})
        return RestError.general("Server Error Occurred").build_response()
