"""What the gateway refuses, with which status, code and words.

Source of what is expected: WSO2 API Manager 4.6.0, gateway handlers and synapse sequences, as `wso2_terms.codes` says.
"""

from functools import cached_property

from pydantic import SecretStr

from wso2_provisioning.tokens import ClientCredentials
from wso2_provisioning.verification.rows import Row, Seen
from wso2_provisioning.verification.site import Site
from wso2_provisioning.verification.told import compared, expected
from wso2_terms import codes

ACTIVITY = "activityid"


class RefusalRows:
    """The rows, over one application that is subscribed and one that is not."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def rows(self) -> list[Row]:
        """Every row, in the order in which they are looked at."""
        site, gateway, keys = self._site, "the gateway", "an application of EVApp's owner"
        target = site.project.api.operations[0].target
        return [
            Row("call with a token", f"{keys}, the service", "200, activityid", self._passed),
            Row("no token", gateway, expected(codes.MISSING_CREDENTIALS), self._no_token),
            Row("its WWW-Authenticate", gateway, codes.CHALLENGE, self._challenge),
            Row("its activityid", gateway, "there", self._activity_of_a_refusal),
            Row("malformed token", gateway, expected(codes.INVALID_CREDENTIALS), self._malformed),
            Row("forged token", keys, expected(codes.INVALID_CREDENTIALS), self._forged),
            Row("token without the scope", keys, expected(codes.SCOPE_MISSING), lambda: self._no_scope(target)),
            Row("application not subscribed", keys, expected(codes.NOT_SUBSCRIBED), self._stranger),
            Row("unknown API", gateway, expected(codes.NOT_FOUND), self._no_api),
            Row("unknown resource", keys, expected(codes.NO_RESOURCE), self._no_resource),
            Row("verb that the resource has not", keys, expected(codes.METHOD_NOT_ALLOWED), self._wrong_verb),
        ]

    @cached_property
    def _keys(self) -> ClientCredentials:
        return self._site.application("Access")

    @cached_property
    def _token(self) -> SecretStr:
        token = self._site.token(self._keys, self._site.scope)
        self._site.settle(token)
        return token

    def _passed(self) -> Seen:
        answer = self._site.call(self._token)
        return Seen(f"{answer.status_code}, {ACTIVITY if answer.headers.get(ACTIVITY) else 'no activityid'}")

    def _no_token(self) -> Seen:
        return compared(self._site.call(None), codes.MISSING_CREDENTIALS)

    def _challenge(self) -> Seen:
        return Seen(self._site.call(None).headers.get("WWW-Authenticate", "none"))

    def _activity_of_a_refusal(self) -> Seen:
        return Seen("there" if self._site.call(None).headers.get(ACTIVITY) else "not there")

    def _malformed(self) -> Seen:
        return compared(self._site.call(SecretStr("not-a-token")), codes.INVALID_CREDENTIALS)

    def _forged(self) -> Seen:
        return compared(self._site.call(forged(self._token)), codes.INVALID_CREDENTIALS)

    def _no_scope(self, target: str) -> Seen:
        token = self._site.token(self._keys, "device_without")
        return compared(self._site.call(token), codes.SCOPE_MISSING, resource=target)

    def _stranger(self) -> Seen:
        keys = self._site.application("Stranger", subscribed=False)
        token = self._site.token(keys, self._site.scope)
        wanted = codes.NOT_SUBSCRIBED.code
        # Until its keys have reached the gateway, it is refused as somebody whom nobody knows.
        answer, _ = self._site.watch(lambda: self._site.call(token), lambda found: wanted in found.text, 60.0)
        return compared(answer or self._site.call(token), codes.NOT_SUBSCRIBED)

    def _no_api(self) -> Seen:
        return compared(self._site.call(self._token, "/verify-nothing/1.0.0/here"), codes.NOT_FOUND)

    def _no_resource(self) -> Seen:
        path = f"{self._site.project.api.versioned_context}/verify-nothing"
        return compared(self._site.call(self._token, path), codes.NO_RESOURCE)

    def _wrong_verb(self) -> Seen:
        return compared(self._site.call(self._token, method="DELETE"), codes.METHOD_NOT_ALLOWED)


def forged(token: SecretStr) -> SecretStr:
    """The same header and claims under a signature that is not WSO2's."""
    signed, _, signature = token.get_secret_value().rpartition(".")
    # Not the last letter: some of its bits belong to no byte.
    return SecretStr(f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}")
