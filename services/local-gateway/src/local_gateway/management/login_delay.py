"""Delays the answers to wrong credentials per address; answers to correct ones are never delayed."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from local_gateway.oauth import REVOKE_PATH, TOKEN_PATH
from local_gateway.serving import delay_response, prove_connection

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
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
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
