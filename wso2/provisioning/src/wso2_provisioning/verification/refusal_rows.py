"""What the gateway refuses, with which status, code and words.

Source of what is expected: WSO2 API Manager 4.6.0, gateway handlers and synapse sequences, as `wso2_terms.codes` says.
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
    """The rows, over one application that is subscribed and one that is not."""

    def __init__(self, site: VerificationContext) -> None:
        self._site = site

    def build_rows(self) -> list[Row]:
        """Every row, in the order in which they are looked at."""
        site, gateway, keys = self._site, "the gateway", "an application of EVApp's owner"
        target = site.project.api.operations[0].target
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
        return self._site.ensure_application("Access")

    @cached_property
    def _token(self) -> SecretStr:
        token = self._site.request_token(self._keys, self._site.scope)
        self._site.wait_for_access(token)
        return token

    def _observe_access(self) -> Observation:
        answer = self._site.call(self._token)
        return Observation(f"{answer.status_code}, {ACTIVITY if answer.headers.get(ACTIVITY) else 'no activityid'}")

    def _observe_missing_token(self) -> Observation:
        return compare_with_fault(self._site.call(None), codes.MISSING_CREDENTIALS)

    def _observe_challenge(self) -> Observation:
        return Observation(self._site.call(None).headers.get("WWW-Authenticate", "none"))

    def _observe_activity_id(self) -> Observation:
        return Observation("there" if self._site.call(None).headers.get(ACTIVITY) else "not there")

    def _observe_malformed_token(self) -> Observation:
        return compare_with_fault(self._site.call(SecretStr("not-a-token")), codes.INVALID_CREDENTIALS)

    def _observe_forged_token(self) -> Observation:
        return compare_with_fault(self._site.call(forge_signature(self._token)), codes.INVALID_CREDENTIALS)

    def _observe_missing_scope(self, target: str) -> Observation:
        token = self._site.request_token(self._keys, "device_without")
        return compare_with_fault(self._site.call(token), codes.SCOPE_MISSING, resource=target)

    def _observe_unsubscribed_call(self) -> Observation:
        keys = self._site.ensure_application("Stranger", subscribed=False)
        token = self._site.request_token(keys, self._site.scope)
        wanted = codes.NOT_SUBSCRIBED.code
        # Until its keys have reached the gateway, it is refused as somebody whom nobody knows.
        answer, _ = self._site.poll(lambda: self._site.call(token), lambda found: wanted in found.text, 60.0)
        return compare_with_fault(answer or self._site.call(token), codes.NOT_SUBSCRIBED)

    def _observe_unknown_api(self) -> Observation:
        return compare_with_fault(self._site.call(self._token, "/verify-nothing/1.0.0/here"), codes.NOT_FOUND)

    def _observe_unknown_resource(self) -> Observation:
        path = f"{self._site.project.api.versioned_context}/verify-nothing"
        return compare_with_fault(self._site.call(self._token, path), codes.NO_RESOURCE)

    def _observe_wrong_verb(self) -> Observation:
        return compare_with_fault(self._site.call(self._token, method="DELETE"), codes.METHOD_NOT_ALLOWED)


def forge_signature(token: SecretStr) -> SecretStr:
    """The same header and claims under a signature that is not WSO2's."""
    signed, _, signature = token.get_secret_value().rpartition(".")
    # Not the last letter: some of its bits belong to no byte.
    return SecretStr(f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}")
