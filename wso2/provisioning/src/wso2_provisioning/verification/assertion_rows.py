"""Rows on the gateway's assertion (backend JWT).

A service with `GATEWAY_CERT_FILE` that answers 200 proves signature, issuer, expiry and context; the single claims are
visible only to a backend of our own, which the gateway must reach.
Source of the expectations: WSO2 API Manager 4.6.0, `[apim.jwt]` (APIMgtGatewayJWTGeneratorImpl).
"""

from functools import cached_property
from typing import Any

import httpx

from ev_service.assertion import CONTEXT_CLAIM, HEADER, ISSUER, GatewayAssertion
from ev_service.errors import EvError
from ev_service.settings import RunSettings, load
from wso2_provisioning.verification import own_artifacts as own
from wso2_provisioning.verification.context import PREFIX, SETTLES_S, VerificationContext
from wso2_provisioning.verification.echo import EchoBackend
from wso2_provisioning.verification.formatting import decode_jwt
from wso2_provisioning.verification.import_rows import ImportRows
from wso2_provisioning.verification.rows import Observation, Row, RowSkippedError

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
