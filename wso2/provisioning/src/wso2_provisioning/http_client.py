"""HTTP client for WSO2: TLS trust, timeouts, retries, and errors for refused requests.

No error message contains a header, a body or a query.
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

# An import also deploys, and the first one after a start of WSO2 is slow.
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_ATTEMPTS = 4
_SHOWN_CHARACTERS = 300


class Identity(httpx.Auth):
    """Credentials of a call, and the name for error messages."""

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
        """Add the credentials to a request."""
        request.headers["Authorization"] = self._authorization.get_secret_value()
        yield request


class HttpClient:
    """Sends requests, and retries those that could not connect; so every request must be repeatable."""

    def __init__(
        self,
        ca_file: Path | None,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Create the client; it connects on the first request.

        Args:
            ca_file: PEM to trust in addition to the system's, read again when it changes.
            transport: replaces the network in tests.
            sleep: waits for a number of seconds.

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
        """Send a request once; return any answer.

        Raises:
            NotReadyError: the server does not answer, or its certificate is not trusted.
        """
        try:
            return self._get_client().request(method, url, auth=identity, **content)
        except httpx.RequestError as error:
            raise _build_unreachable_error(url, error) from error

    def send(self, method: str, url: str, identity: Identity, **content: Any) -> httpx.Response:
        """Send a request, with retries if the server does not answer; return any answer.

        Raises:
            NotReadyError: the server does not answer.
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
        """Send a request, with retries if the server does not answer; require one of the accepted statuses.

        Raises:
            NotReadyError: the server does not answer.
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
            # The gateway's authority may change during a bootstrap.
            self._client.close()
            self._trust, self._client = trust, self._build_client(trust)
        return self._client

    def _build_client(self, trust: ssl.SSLContext | None) -> httpx.Client:
        return httpx.Client(
            verify=True if trust is None else trust,
            timeout=_TIMEOUT,
            transport=self._transport,
            # No proxy from the environment: it would see every token.
            trust_env=False,
            # A session cookie would authenticate a call with wrong credentials.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        )


def parse_json_object(response: httpx.Response) -> dict[str, Any]:
    """Parse an answer that must be a JSON object.

    Raises:
        RequestRefusedError: it is not one.
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
    """Return the entries of a list, `{"count": …, "list": […]}`."""
    return cast("list[dict[str, Any]]", answer.get("list") or [])


def require_field(answer: Mapping[str, Any], name: str) -> str:
    """Return a required field of an answer as text.

    Raises:
        RequestRefusedError: it is missing.
    """
    if name not in answer:
        raise RequestRefusedError(f"WSO2 answered without {name}: is it version 4.6?", status=200)
    return str(answer[name])


def build_refused_error(method: str, url: str, response: httpx.Response) -> RequestRefusedError:
    """Build the error of a refused request, with the server's own explanation if there is one."""
    try:
        body = parse_json_object(response)
    except RequestRefusedError:
        body = {}
    # WSO2's REST APIs, its token endpoint, its gateway, and problem+json of a service behind it.
    texts = (body.get(name) for name in ("description", "error_description", "message", "detail"))
    text = str(next(filter(None, texts), "no reason given"))
    code = str(body.get("code"))
    wso2_code = int(code) if code.isdigit() else 0
    numbered = f", code {wso2_code}" if wso2_code > 999 else ""
    return RequestRefusedError(
        f"{method} {_path_of(url)} was refused with {response.status_code}{numbered}: {text[:_SHOWN_CHARACTERS]}",
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
            "and use a host name that the certificate contains",
            is_final=True,
        )
    return NotReadyError(
        f"{origin} cannot be reached ({type(error).__name__}): is it up, and is the address right?", is_final=False
    )
