"""Rows on imports of a plan and an API, and on the gateway's assertion (backend JWT) for calls of that API.

A service with `GATEWAY_CERT_FILE` that answers 200 proves signature, issuer, expiry and context; the single claims are
visible only to a backend of our own, which the gateway must reach.
Source of the expectations: WSO2 API Manager 4.6.0, `[apim.jwt]` (APIMgtGatewayJWTGeneratorImpl); carbon-apimgt 9.33.90,
ThrottlingApiServiceImpl, ImportUtils.
"""

from functools import cached_property
from typing import Any

import httpx
from pydantic import SecretStr

from ev_service.assertion import CONTEXT_CLAIM, HEADER, ISSUER, GatewayAssertion
from ev_service.errors import EvError
from ev_service.settings import RunSettings, load
from wso2_provisioning import admin, publisher
from wso2_provisioning.admin import build_import_file
from wso2_provisioning.http_client import list_entries
from wso2_provisioning.verification import own_artifacts as own
from wso2_provisioning.verification.context import PREFIX, SETTLES_S, VerificationContext
from wso2_provisioning.verification.echo import EchoBackend
from wso2_provisioning.verification.formatting import (
    compare_with_fault,
    decode_jwt,
    format_documented_fault,
    format_status,
    parse_body,
)
from wso2_provisioning.verification.rows import Observation, Row, RowSkippedError
from wso2_terms.codes import API_BLOCKED, CONNECTION_FAILED

IMPORTS, MOST_REVISIONS = 6, 5
REACHES_S = 10.0
_BLOCKED = f"{API_BLOCKED.http_status} {API_BLOCKED.code} within {REACHES_S:.0f} s"


class ImportRows:
    """Rows with a plan and an API of their own."""

    def __init__(self, context: VerificationContext) -> None:
        self._context = context

    def build_rows(self) -> list[Row]:
        """Return all rows but the last, in their order."""
        needs = "administrator"
        return [
            Row("plan imported, again, overwritten", needs, "201, 409, 200", self._observe_plan_imports),
            Row(
                f"API imported {IMPORTS} times",
                needs,
                f"one id, {MOST_REVISIONS} revisions, one deployed",
                self._observe_api_imports,
            ),
            Row(
                "its backend is down",
                "the gateway",
                format_documented_fault(CONNECTION_FAILED),
                self._observe_backend_failure,
            ),
        ]

    def build_last_rows(self) -> list[Row]:
        """Return the row that blocks the API; it follows all rows that call it."""
        return [Row("API blocked", "the gateway", f"200, then {_BLOCKED}", self._observe_block)]

    @cached_property
    def token(self) -> SecretStr:
        """Token of an application that is subscribed to the API."""
        context = self._context
        keys = context.ensure_application("Imports", subscribed=False)
        context.portal.subscribe(context.application_id_of("Imports"), self.api_id, own.PLAN)
        return context.request_token(keys, own.SCOPE)

    @cached_property
    def api_id(self) -> str:
        """Id of the API, which is imported on first use."""
        return self.import_with_backend(own.NOBODY)

    def import_with_backend(self, backend_url: str) -> str:
        """Import the API with a backend and return its id."""
        project = own.build_project(self._context.project.api, backend_url)
        self._context.own_api_id = self._context.publisher.import_project(project)
        return self._context.own_api_id

    def _observe_plan_imports(self) -> Observation:
        path = f"{admin.BASE_PATH}/throttling/policies/import"
        statuses = [
            self._context.call_admin(
                "POST", path, params={"overwrite": overwrite}, files=build_import_file(own.build_plan())
            )
            for overwrite in ("false", "false", "true")
        ]
        return Observation(", ".join(str(answer.status_code) for answer in statuses))

    def _observe_api_imports(self) -> Observation:
        ids = {self.api_id} | {self.import_with_backend(own.NOBODY) for _ in range(IMPORTS - 1)}
        path = f"{publisher.BASE_PATH}/apis/{self.api_id}/revisions"
        kept = list_entries(parse_body(self._context.call_admin("GET", path)))
        deployed = list_entries(parse_body(self._context.call_admin("GET", path, params={"query": "deployed:true"})))
        amount = {1: "one"}
        return Observation(
            f"{amount.get(len(ids), len(ids))} id, {len(kept)} revisions, "
            f"{amount.get(len(deployed), len(deployed))} deployed"
        )

    def _observe_backend_failure(self) -> Observation:
        self._context.wait_for_access(self.token, own.VERSIONED_CONTEXT + own.TARGET)
        return compare_with_fault(self._context.call(self.token, own.VERSIONED_CONTEXT + own.TARGET), CONNECTION_FAILED)

    def _observe_block(self) -> Observation:
        token = self.token
        answer = self._context.call_publisher("/apis/change-lifecycle", {"apiId": self.api_id, "action": "Block"})
        wanted = f"{API_BLOCKED.http_status} {API_BLOCKED.code}"
        path = own.VERSIONED_CONTEXT + own.TARGET
        found, took_s = self._context.poll(
            lambda: self._context.call(token, path), lambda it: format_status(it) == wanted, REACHES_S
        )
        if found is None:
            return Observation(f"{answer.status_code}, then {format_status(self._context.call(token, path))}")
        return Observation(f"{answer.status_code}, then {_BLOCKED}", f"{took_s:.2f} s")


_CLAIMS = "http://wso2.org/claims/"
_PATH = own.VERSIONED_CONTEXT + own.TARGET
LIFE_S = 900


class AssertionRows:
    """Rows: one with the real service, the others with the echo backend."""

    def __init__(
        self, context: VerificationContext, imports: ImportRows, echo: EchoBackend | None, echo_url: str | None
    ) -> None:
        self._context = context
        self._imports = imports
        self._echo = echo
        self._echo_url = echo_url

    def build_rows(self) -> list[Row]:
        """Return the rows in their order."""
        needs = "--echo-url"
        return [
            Row("the service takes the assertion", "service with GATEWAY_CERT_FILE", "200", self._observe_acceptance),
            Row("assertion: header", needs, "JWT RS256, base64url", self._observe_header),
            Row("assertion: issuer and API", needs, f"{ISSUER} {own.VERSIONED_CONTEXT}", self._observe_issuer),
            Row("assertion: application", needs, f"{PREFIX}Imports PRODUCTION {own.PLAN}", self._observe_application),
            Row("assertion: lifetime", needs, f"{LIFE_S} s", self._observe_lifetime),
            Row("assertion: signature", f"{needs}, GATEWAY_CERT_FILE", "verifies", self._observe_signature),
            Row("caller's token at the backend", needs, "not there", self._observe_authorization),
            Row("activityid at the backend", needs, "that of the answer", self._observe_activity_id),
        ]

    def _observe_acceptance(self) -> Observation:
        token = self._context.request_token(self._context.ensure_application("Access"), self._context.scope)
        answer = self._context.call(token)
        return Observation(str(answer.status_code))

    @cached_property
    def _answer(self) -> httpx.Response:
        if self._echo is None or self._echo_url is None:
            raise RowSkippedError("needs --echo-url, where the gateway reaches this machine")
        token = self._imports.token
        self._imports.import_with_backend(self._echo_url)
        # The previous revision answers until the new one is deployed.
        answer, _ = self._context.poll(
            lambda: self._context.call(token, _PATH), lambda found: found.status_code == 200, SETTLES_S
        )
        if answer is None:
            raise RowSkippedError(f"the gateway does not reach {self._echo_url}")
        return answer

    @cached_property
    def _request_headers(self) -> dict[str, str]:
        assert self._answer.status_code == 200
        assert self._echo is not None
        return dict(self._echo.headers)

    @property
    def _assertion(self) -> str:
        return self._request_headers.get(HEADER.lower(), "..")

    @property
    def _claims(self) -> dict[str, Any]:
        return decode_jwt(self._assertion)[1]

    def _observe_header(self) -> Observation:
        header, _ = decode_jwt(self._assertion)
        # Common JWT libraries reject plain base64.
        is_url_safe = not set("+/=") & set(self._assertion)
        return Observation(f"{header.get('typ')} {header.get('alg')}, {'base64url' if is_url_safe else 'base64'}")

    def _observe_issuer(self) -> Observation:
        return Observation(f"{self._claims.get('iss')} {self._claims.get(CONTEXT_CLAIM)}")

    def _observe_application(self) -> Observation:
        names = ("applicationname", "keytype", "tier")
        values = [str(self._claims.get(_CLAIMS + name)) for name in names]
        return Observation(" ".join(values), f"enduser {self._claims.get(f'{_CLAIMS}enduser')}")

    def _observe_lifetime(self) -> Observation:
        return Observation(f"{int(self._claims['exp']) - int(self._claims['iat'])} s")

    def _observe_signature(self) -> Observation:
        certificate = load(RunSettings).gateway_cert_file
        assertion = self._assertion
        if certificate is None:
            raise RowSkippedError("needs GATEWAY_CERT_FILE, the certificate that assertions are signed with")
        try:
            GatewayAssertion.from_file(certificate, self._context.clock).verify(assertion, own.VERSIONED_CONTEXT)
        except EvError as error:
            return Observation(error.message)
        return Observation("verifies")

    def _observe_authorization(self) -> Observation:
        return Observation("there" if "authorization" in self._request_headers else "not there")

    def _observe_activity_id(self) -> Observation:
        there, here = self._request_headers.get("activityid"), self._answer.headers.get("activityid")
        return Observation("that of the answer" if there and there == here else f"{there} there, {here} here")
