"""HTTP to one WSO2: trust, time limits, repeats, and what an answer that says no is turned into.

Knows no address and no payload of any API. No message holds a header, a body or a query.
"""

import ssl
import time
from collections.abc import Callable, Collection, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import httpx
from pydantic import SecretStr
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

from ev_service.trust import Authorities
from wso2_provisioning.errors import CredentialsRefusedError, NotReadyError, RequestRefusedError
from wso2_terms.basic_credentials import encode_client

# An import deploys, too, and a WSO2 that has just started takes its time for the first one.
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_ATTEMPTS = 4
_SHOWN_CHARACTERS = 300


class Identity(httpx.Auth):
    """Who a call is made as; `name` is what errors call them."""

    def __init__(self, name: str, authorization: SecretStr) -> None:
        self.name = name
        self._authorization = authorization

    @classmethod
    def from_password(cls, name: str, password: SecretStr) -> "Identity":
        """A user with a password, by HTTP Basic."""
        request = next(httpx.BasicAuth(name, password.get_secret_value()).auth_flow(httpx.Request("GET", "/")))
        return cls(name, SecretStr(request.headers["Authorization"]))

    @classmethod
    def from_client(cls, client_id: str, client_secret: SecretStr) -> "Identity":
        """An OAuth2 client at the token endpoint, by HTTP Basic."""
        return cls(client_id, SecretStr(encode_client(client_id, client_secret.get_secret_value())))

    @classmethod
    def from_token(cls, name: str, token: SecretStr) -> "Identity":
        """The bearer of a token."""
        return cls(name, SecretStr(f"Bearer {token.get_secret_value()}"))

    def auth_flow(self, request: httpx.Request) -> Any:
        """Put the credentials on a request."""
        request.headers["Authorization"] = self._authorization.get_secret_value()
        yield request


class HttpClient:
    """Sends requests and repeats those that found nobody. Every call made with it can be made twice."""

    def __init__(
        self,
        ca_file: Path | None,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open nothing yet.

        Args:
            ca_file: PEM to trust beside the system's, read again when it changes.
            transport: stands in for the network in tests.
            sleep: waits so many seconds.

        Raises:
            ConfigurationError: the PEM cannot be read.
        """
        self.sleep = sleep
        self._transport = transport
        self._authorities = None if transport is not None else Authorities(ca_file, "WSO2_CA_FILE")
        self._trust = self._load_trust()
        self._client = self._build_client(self._trust)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def send_once(self, method: str, url: str, identity: Identity | None = None, **content: Any) -> httpx.Response:
        """Send a request, whatever the answer.

        Raises:
            NotReadyError: nobody answers, or their certificate is not trusted.
        """
        try:
            return self._get_client().request(method, url, auth=identity, **content)
        except httpx.RequestError as error:
            raise _build_unreachable_error(url, error) from error

    def send(self, method: str, url: str, identity: Identity, **content: Any) -> httpx.Response:
        """Send a request, again when nobody answers, whatever the answer.

        Raises:
            NotReadyError: nobody answers.
        """
        repeat = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, NotReadyError) and not error.is_final),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential(multiplier=0.2, max=2.0) + wait_random(0, 0.2),
            sleep=self.sleep,
            reraise=True,
        )
        return repeat(self.send_once, method, url, identity, **content)

    def call(
        self, method: str, url: str, identity: Identity, *, accept: Collection[int] = (200,), **content: Any
    ) -> httpx.Response:
        """Send a request, again when nobody answers, and insist on one of some statuses.

        Raises:
            NotReadyError: nobody answers.
            CredentialsRefusedError: 401.
            RequestRefusedError: any other status.
        """
        response = self.send(method, url, identity, **content)
        if response.status_code in accept:
            return response
        if response.status_code == 401:
            raise CredentialsRefusedError(
                f"WSO2 does not accept {identity.name} at {_path_of(url)}: check the password and the user's roles"
            )
        raise build_refused_error(method, url, response)

    def _load_trust(self) -> ssl.SSLContext | None:
        return None if self._authorities is None else self._authorities.context()

    def _get_client(self) -> httpx.Client:
        trust = self._load_trust()
        if trust is not self._trust:
            # The gateway's authority may change while a bootstrap is at work.
            self._client.close()
            self._trust, self._client = trust, self._build_client(trust)
        return self._client

    def _build_client(self, trust: ssl.SSLContext | None) -> httpx.Client:
        return httpx.Client(
            verify=True if trust is None else trust,
            timeout=_TIMEOUT,
            transport=self._transport,
            # The settings say where to go; a proxy from the environment would see every token.
            trust_env=False,
            # A session cookie would let a call through whose own credentials are wrong.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        )


def parse_json_object(response: httpx.Response) -> dict[str, Any]:
    """Read an answer that must be a JSON object.

    Raises:
        RequestRefusedError: it is not.
    """
    try:
        value = cast("object", response.json())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RequestRefusedError(
            f"{_path_of(str(response.request.url))} answered with something other than a JSON object: is it WSO2?",
            status=response.status_code,
        )
    return cast("dict[str, Any]", value)


def list_entries(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a list answer, `{"count": …, "list": […]}`."""
    return cast("list[dict[str, Any]]", answer.get("list") or [])


def require_field(answer: Mapping[str, Any], name: str) -> str:
    """Return a field of an answer that must be there, as text.

    Raises:
        RequestRefusedError: it is not there.
    """
    if name not in answer:
        raise RequestRefusedError(f"WSO2 answered without {name}: is it version 4.6?", status=200)
    return str(answer[name])


def build_refused_error(method: str, url: str, response: httpx.Response) -> RequestRefusedError:
    """Turn an answer that says no into its error, in the words of who said it where there are any."""
    try:
        body = parse_json_object(response)
    except RequestRefusedError:
        body = {}
    # WSO2's REST APIs, its token endpoint, its gateway, and the problem+json of a service behind it.
    said = (body.get(name) for name in ("description", "error_description", "message", "detail"))
    words = str(next(filter(None, said), "no reason given"))
    code = str(body.get("code"))
    wso2_code = int(code) if code.isdigit() else 0
    numbered = f", code {wso2_code}" if wso2_code > 999 else ""
    return RequestRefusedError(
        f"{method} {_path_of(url)} was refused with {response.status_code}{numbered}: {words[:_SHOWN_CHARACTERS]}",
        status=response.status_code,
        wso2_code=wso2_code,
    )


def _path_of(url: str) -> str:
    return httpx.URL(url).path


def _build_unreachable_error(url: str, error: httpx.RequestError) -> NotReadyError:
    target = httpx.URL(url)
    origin = f"{target.scheme}://{target.netloc.decode()}"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return NotReadyError(
            f"the certificate of {origin} is not trusted: set WSO2_CA_FILE to the PEM of its CA, "
            "and use a host name that stands in the certificate",
            is_final=True,
        )
    return NotReadyError(
        f"{origin} cannot be reached ({type(error).__name__}): is it up, and is the address right?", is_final=False
    )
