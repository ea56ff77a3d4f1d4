"""One run of the attacks: the stack, the attacker's applications, tokens and clients."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypeVar

import httpx
from joserfc.jwk import RSAKey
from tests.attacks import own_api
from tests.attacks.attacker_resources import Application, AttackerResources
from tests.attacks.gateway_access import Addresses, GatewayAccess, Headers
from tests.attacks.minutes import Minutes
from tests.attacks.rows import RowSkippedError
from tests.attacks.stack import Stack
from tests.attacks.traffic import Traffic

from wso2_provisioning.applications import CHARGERS_API, CONTROL_API, EVAPP, SCOPE_PROBE, ApplicationSpec
from wso2_provisioning.devportal import DevPortal
from wso2_provisioning.errors import GatewayAccessError, RequestRefusedError
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.smoke_test import Verdict, find_probe_path, parse_answer
from wso2_provisioning.tokens import ClientCredentials

REACHES_S = 10.0
"""How long a change may take to reach the gateway [s]."""
SETTLES_S = 60.0
"""How long a new application or API may take to reach it [s]."""
_PAUSE_S = 0.2
T = TypeVar("T")
ENERGY = ("SolarAPI", "BatteryAPI", "GridAPI")


class AttackRun:
    """One run of the attacks: the stack, clients and tokens. A switch may replace `access`, to send calls elsewhere."""

    def __init__(self, stack: Stack, http: HttpClient, traffic: Traffic, report: Callable[[str], None]) -> None:
        self.stack = stack
        self.http = http
        self.traffic = traffic
        self.report = report
        self.access = GatewayAccess(Addresses.of(stack), traffic)
        self.resources = AttackerResources(http, stack.settings, stack.artifacts, traffic)
        for name, password in stack.passwords.items():
            traffic.keep_secret(f"password of {name}", password)
        self._tokens: dict[tuple[str, str], str] = {}

    @property
    def minutes(self) -> Minutes:
        """Time, as it passes on this stack."""
        return self.stack.minutes

    @property
    def gateway_key(self) -> RSAKey | None:
        """The gateway's signing key, None where it cannot be read."""
        file = self.stack.signing_key
        return None if file is None else RSAKey.import_key(file.read_bytes())

    @cached_property
    def path(self) -> str:
        """Of the reading that most attacks are after."""
        return find_probe_path(self.stack.artifacts.find_api("SolarAPI"))

    @cached_property
    def scope(self) -> str:
        """What that reading needs."""
        return self.stack.artifacts.find_api("SolarAPI").api.scopes[0].scope.name

    @property
    def energy_scopes(self) -> tuple[str, ...]:
        """Of the three readings."""
        return tuple(self.stack.artifacts.find_api(name).api.scopes[0].scope.name for name in ENERGY)

    @cached_property
    def reader(self) -> Application:
        """An application that may read all, and use the attacker's API without limit."""
        return self.resources.application("Reader", *ENERGY, own_api.NAME)

    @cached_property
    def controller(self) -> Application:
        """An application that may read the chargers and limit them."""
        return self.resources.application("Controller", CHARGERS_API, CONTROL_API)

    @cached_property
    def toolbox(self) -> Application:
        """An application that is subscribed to the MCP servers, and to no API."""
        return self.resources.application("Toolbox", "SolarMCP", "AgentMCP", own_api.SERVER_NAME)

    @cached_property
    def stranger(self) -> Application:
        """An application that is granted every scope and is subscribed to nothing."""
        return self.resources.application("Stranger")

    @property
    def good_token(self) -> str:
        """Opens the readings and the attacker's API, and is known at the gateway."""
        return self.request_accepted_token(self.reader, *self.energy_scopes, own_api.SCOPE)

    @cached_property
    def evapp(self) -> ClientCredentials:
        """EVApp's own key and secret, as the administrator reads them."""
        return self.client_of(EVAPP)

    def client_of(self, spec: ApplicationSpec) -> ClientCredentials:
        """A published application's own key and secret, as the administrator reads them.

        Raises:
            RowSkippedError: the application is not there.
        """
        try:
            keys = self.portal.export_application(spec.owner, spec.name).keys
        except RequestRefusedError as error:
            raise RowSkippedError(f"needs {spec.name}, which the bootstrap makes") from error
        if keys is None:
            raise RowSkippedError(f"needs the key of {spec.name}")
        return self._register_secret(spec.name, keys.credentials)

    @property
    def portal(self) -> DevPortal:
        """The Developer Portal as the administrator sees it."""
        return DevPortal(self.http, self.stack.settings.wso2_management_url, self.resources.admin)

    @cached_property
    def roleless(self) -> ClientCredentials:
        """An application whose owner holds none of the roles that scopes are bound to.

        Raises:
            RowSkippedError: it is not there.
        """
        application_id = self.portal.find_application(SCOPE_PROBE)
        keys = None if application_id is None else self.portal.find_keys(application_id)
        if keys is None:
            raise RowSkippedError(f"needs {SCOPE_PROBE}, which the bootstrap makes")
        return self._register_secret(SCOPE_PROBE, keys.credentials)

    def forget_tokens(self) -> None:
        """Ask for new tokens from now on: those of before may have been revoked."""
        self._tokens.clear()

    def ask_token(self, client: ClientCredentials, *scopes: str, **form: str) -> httpx.Response:
        """Ask for a token of these scopes, whatever the answer."""
        asked = {"grant_type": "client_credentials", "scope": " ".join(scopes)} | form
        auth = (client.client_id, client.client_secret.get_secret_value())
        answer = self.access.management.post(self.access.addresses.token_url, data=asked, auth=auth)
        if answer.status_code == 200 and (token := answer.json().get("access_token")):
            self.traffic.keep_secret("a token", str(token))
        return answer

    def token(self, application: Application, *scopes: str) -> str:
        """Return a token of these scopes: the one of before, where there is one.

        Raises:
            httpx.HTTPStatusError: none is given.
        """
        key = (application.application_id, " ".join(scopes))
        if key not in self._tokens:
            answer = self.ask_token(application.client, *scopes).raise_for_status()
            self._tokens[key] = str(answer.json()["access_token"])
        return self._tokens[key]

    def request_accepted_token(self, application: Application, *scopes: str, path: str = own_api.OPEN_PATH) -> str:
        """Return a token that the gateway is seen to let through.

        Raises:
            GatewayAccessError: it does not within a minute.
        """
        key = (application.application_id, " ".join(scopes))
        is_known = key in self._tokens
        token = self.token(application, *scopes)
        if not is_known:
            passes = (Verdict.LET_THROUGH, Verdict.BACKEND_FAILED)
            answer = self.until(
                lambda: self.call(token, path), lambda it: parse_answer(it).verdict in passes, SETTLES_S
            )
            if parse_answer(answer).verdict not in passes:
                raise GatewayAccessError(
                    f"the gateway does not let {application.full_name} through: {parse_answer(answer)}"
                )
        return token

    def call(
        self,
        token: str | None = None,
        path: str | None = None,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | Headers | None = None,
        content: bytes | None = None,
        json: object = None,
    ) -> httpx.Response:
        """Call the gateway, whatever the answer.

        Args:
            token: None sends none.
            path: None calls the reading that most attacks are after.
            method: verb.
            headers: besides; a list may repeat a name.
            content, json: body.
        """
        given = list(headers.items()) if isinstance(headers, Mapping) else list(headers or [])
        if token is not None:
            given.append(("Authorization", f"Bearer {token}"))
        return self.access.gateway.request(method, path or self.path, headers=given, content=content, json=json)

    def until(
        self,
        call: Callable[[], httpx.Response],
        wanted: Callable[[httpx.Response], bool],
        longest_s: float = REACHES_S,
    ) -> httpx.Response:
        """Call until an answer is the one that is waited for, or the time is over; return the last one."""
        return self._repeat_until(call, wanted, longest_s)

    def wait_for_response(self, call: Callable[[], str], wanted: str, longest_s: float = REACHES_S) -> str:
        """The same for what a call is told as."""
        return self._repeat_until(call, lambda told: told == wanted, longest_s)

    def _repeat_until(self, call: Callable[[], T], wanted: Callable[[T], bool], longest_s: float) -> T:
        answer = call()
        # On the local gateway a change holds at once: what is not there with the second call is not coming.
        for _ in range(1 if self.stack.is_local else int(longest_s / _PAUSE_S)):
            if wanted(answer):
                break
            self.http.sleep(_PAUSE_S)
            answer = call()
        return answer

    def _register_secret(self, name: str, client: ClientCredentials) -> ClientCredentials:
        self.traffic.keep_client(name, client.client_id, client.client_secret.get_secret_value())
        return client
