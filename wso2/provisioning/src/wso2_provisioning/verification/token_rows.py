"""Clients, scopes and tokens: who gets what, and how long it lives.

Source of what is expected: WSO2 API Manager 4.6.0, client registration, resident key manager (RoleBasedScopesIssuer)
and its documentation of access tokens per device.
"""

import secrets
from functools import cached_property

import httpx
from pydantic import SecretStr

from wso2_provisioning.applications import EVAPP
from wso2_provisioning.readiness import HEALTH_PATH
from wso2_provisioning.tokens import ClientCredentials, register_client
from wso2_provisioning.verification.rows import Row, Seen
from wso2_provisioning.verification.site import OWNER, Site
from wso2_provisioning.verification.told import body_of, coded, parts_of_jwt, passage
from wso2_provisioning.wire import Identity
from wso2_terms.codes import INVALID_CREDENTIALS

REACHES_S = 10.0
"""How long a revocation may take to reach the gateway [s]; nothing in WSO2's documents says more than "by event"."""
_REFUSED = f"{INVALID_CREDENTIALS.http_status} {INVALID_CREDENTIALS.code} within {REACHES_S:.0f} s"
_UNREGISTERED = "verify:unregistered"


class TokenRows:
    """The rows, over one application made for them."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def rows(self) -> list[Row]:
        """Every row, in the order in which they are looked at."""
        every = sorted(EVAPP.scopes(self._site.artifacts))
        none = "default"
        keys, gateway = "an application of EVApp's owner", "the same, and the gateway"
        return [
            Row("WSO2 says that it is ready", "management address", "200, empty", self._ready),
            Row("client registered twice is one client", "administrator", "200 twice, one client", self._registered),
            Row("apim scopes that roles do not allow", "EVApp's owner", "200, left out silently", self._rest_scopes),
            Row("scopes that the owner's roles allow", keys, " ".join(every), lambda: self._granted(*every)),
            Row("scopes that no role of the owner allows", "an application of admin", none, self._not_granted),
            Row("scope that no API registers", keys, none, lambda: self._granted(_UNREGISTERED)),
            Row("scope device_verify", keys, "device_verify", lambda: self._granted("device_verify")),
            Row("form of a token", keys, "at+jwt RS256 APPLICATION, 3600 s, nothing to refresh", self._form),
            Row("token asked for again, same scopes", gateway, f"former {_REFUSED}", self._asked_again),
            Row("token of another device_ scope", gateway, "let through", self._kept),
            Row("revoked token", gateway, f"200, then {_REFUSED}", self._revoked),
        ]

    @cached_property
    def _keys(self) -> ClientCredentials:
        return self._site.application("Tokens")

    def _ready(self) -> Seen:
        answer = self._site.wire.send("GET", self._site.settings.wso2_management_url + HEALTH_PATH, self._site.basic)
        return Seen(f"{answer.status_code}, {'not ' if answer.content else ''}empty")

    def _registered(self) -> Seen:
        site = self._site
        again = register_client(site.wire, site.settings.wso2_management_url, site.basic)
        return Seen(f"200 twice, {'one client' if again == site.client else 'two clients'}")

    def _rest_scopes(self) -> Seen:
        site = self._site
        answer = site.wire.send(
            "POST",
            site.settings.token_url,
            Identity.of_client(site.client.client_id, site.client.client_secret),
            data={
                "grant_type": "password",
                "username": OWNER,
                "password": site.owner_password.get_secret_value(),
                "scope": f"apim:admin apim:subscribe device_{secrets.token_hex(4)}",
            },
        )
        granted = str(body_of(answer).get("scope", "")).split()
        silently = "left out silently" if "apim:admin" not in granted and "apim:subscribe" in granted else str(granted)
        return Seen(f"{answer.status_code}, {silently}")

    def _granted(self, *scopes: str) -> Seen:
        return _scopes(self._site.ask_token(self._keys, *scopes))

    def _not_granted(self) -> Seen:
        every = [scope.name for scope in self._site.artifacts.list_scopes()]
        return _scopes(self._site.ask_token(self._site.probe(), *every))

    def _form(self) -> Seen:
        answer = body_of(self._site.ask_token(self._keys, "device_form"))
        header, claims = parts_of_jwt(str(answer["access_token"]))
        refresh = "something" if "refresh_token" in answer else "nothing"
        life = f"{answer['expires_in']} s, {refresh} to refresh"
        return Seen(f"{header.get('typ')} {header.get('alg')} {claims.get('aut')}, {life}")

    def _asked_again(self) -> Seen:
        former = self._site.token(self._keys, self._site.scope)
        self._site.settle(former)
        self._site.token(self._keys, self._site.scope)
        return self._refusal("former ", former)

    def _kept(self) -> Seen:
        former = self._site.token(self._keys, self._site.scope, "device_one")
        self._site.token(self._keys, self._site.scope, "device_two")
        return Seen(passage(self._site.call(former)))

    def _revoked(self) -> Seen:
        token = self._site.token(self._keys, self._site.scope, "device_revoked")
        self._site.settle(token)
        answer = self._site.revoke(self._keys, token)
        return self._refusal(f"{answer.status_code}, then ", token)

    def _refusal(self, before: str, token: SecretStr) -> Seen:
        wanted = f"{INVALID_CREDENTIALS.http_status} {INVALID_CREDENTIALS.code}"
        answer, took_s = self._site.watch(
            lambda: self._site.call(token), lambda found: coded(found) == wanted, REACHES_S
        )
        if answer is None:
            return Seen(f"{before}still let through after {took_s:.0f} s")
        return Seen(f"{before}{_REFUSED}", f"{took_s:.2f} s")


def _scopes(answer: httpx.Response) -> Seen:
    if answer.status_code != 200:
        return Seen(coded(answer))
    return Seen(" ".join(sorted(str(body_of(answer).get("scope", "")).split())))
