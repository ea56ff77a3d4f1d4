"""Rows on the gateway's refusals: status, code and text.

Source of the expectations: WSO2 API Manager 4.6.0, gateway handlers and synapse sequences; see `wso2_terms.codes`.
"""

from functools import cached_property

from pydantic import SecretStr

from wso2_provisioning.tokens import ClientCredentials
from wso2_provisioning.verification.context import VerificationContext
from wso2_provisioning.verification.formatting import compare_with_fault, format_documented_fault
from wso2_provisioning.verification.rows import Observation, Row
from wso2_terms import codes

ACTIVITY = "activityid"


class RefusalRows:
    """Rows with one application that is subscribed and one that is not."""

    def __init__(self, context: VerificationContext) -> None:
        self._context = context

    def build_rows(self) -> list[Row]:
        """Return the rows in their order."""
        context, gateway, keys = self._context, "the gateway", "an application of EVApp's owner"
        target = context.project.api.operations[0].target
        return [
            Row("call with a token", f"{keys}, the service", "200, activityid", self._observe_access),
            Row("no token", gateway, format_documented_fault(codes.MISSING_CREDENTIALS), self._observe_missing_token),
            Row("its WWW-Authenticate", gateway, codes.CHALLENGE, self._observe_challenge),
            Row("its activityid", gateway, "there", self._observe_activity_id),
            Row(
                "malformed token",
                gateway,
                format_documented_fault(codes.INVALID_CREDENTIALS),
                self._observe_malformed_token,
            ),
            Row("forged token", keys, format_documented_fault(codes.INVALID_CREDENTIALS), self._observe_forged_token),
            Row(
                "token without the scope",
                keys,
                format_documented_fault(codes.SCOPE_MISSING),
                lambda: self._observe_missing_scope(target),
            ),
            Row(
                "application not subscribed",
                keys,
                format_documented_fault(codes.NOT_SUBSCRIBED),
                self._observe_unsubscribed_call,
            ),
            Row("unknown API", gateway, format_documented_fault(codes.NOT_FOUND), self._observe_unknown_api),
            Row("unknown resource", keys, format_documented_fault(codes.NO_RESOURCE), self._observe_unknown_resource),
            Row(
                "verb that the resource has not",
                keys,
                format_documented_fault(codes.METHOD_NOT_ALLOWED),
                self._observe_wrong_verb,
            ),
        ]

    @cached_property
    def _keys(self) -> ClientCredentials:
        return self._context.ensure_application("Access")

    @cached_property
    def _token(self) -> SecretStr:
        token = self._context.request_token(self._keys, self._context.scope)
        self._context.wait_for_access(token)
        return token

    def _observe_access(self) -> Observation:
        answer = self._context.call(self._token)
        return Observation(f"{answer.status_code}, {ACTIVITY if answer.headers.get(ACTIVITY) else 'no activityid'}")

    def _observe_missing_token(self) -> Observation:
        return compare_with_fault(self._context.call(None), codes.MISSING_CREDENTIALS)

    def _observe_challenge(self) -> Observation:
        return Observation(self._context.call(None).headers.get("WWW-Authenticate", "none"))

    def _observe_activity_id(self) -> Observation:
        return Observation("there" if self._context.call(None).headers.get(ACTIVITY) else "not there")

    def _observe_malformed_token(self) -> Observation:
        return compare_with_fault(self._context.call(SecretStr("not-a-token")), codes.INVALID_CREDENTIALS)

    def _observe_forged_token(self) -> Observation:
        return compare_with_fault(self._context.call(forge_signature(self._token)), codes.INVALID_CREDENTIALS)

    def _observe_missing_scope(self, target: str) -> Observation:
        token = self._context.request_token(self._keys, "device_without")
        return compare_with_fault(self._context.call(token), codes.SCOPE_MISSING, resource=target)

    def _observe_unsubscribed_call(self) -> Observation:
        keys = self._context.ensure_application("Stranger", subscribed=False)
        token = self._context.request_token(keys, self._context.scope)
        wanted = codes.NOT_SUBSCRIBED.code
        # Until its keys propagate, the gateway returns 900901 (unknown client).
        answer, _ = self._context.poll(lambda: self._context.call(token), lambda found: wanted in found.text, 60.0)
        return compare_with_fault(answer or self._context.call(token), codes.NOT_SUBSCRIBED)

    def _observe_unknown_api(self) -> Observation:
        return compare_with_fault(self._context.call(self._token, "/verify-nothing/1.0.0/here"), codes.NOT_FOUND)

    def _observe_unknown_resource(self) -> Observation:
        path = f"{self._context.project.api.versioned_context}/verify-nothing"
        return compare_with_fault(self._context.call(self._token, path), codes.NO_RESOURCE)

    def _observe_wrong_verb(self) -> Observation:
        return compare_with_fault(self._context.call(self._token, method="DELETE"), codes.METHOD_NOT_ALLOWED)


def forge_signature(token: SecretStr) -> SecretStr:
    """Return a token with the same header and claims, and a signature that is not WSO2's."""
    signed, _, signature = token.get_secret_value().rpartition(".")
    # Not the last character: some of its bits encode nothing.
    return SecretStr(f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}")
