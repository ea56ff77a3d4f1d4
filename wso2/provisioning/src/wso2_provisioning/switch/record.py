"""The record of acts, through the gateway: SiteAPI with a token of the application Operator."""

from collections.abc import Mapping
from typing import Any, cast

from wso2_provisioning.tokens import Token
from wso2_provisioning.wire import HttpClient, Identity, parse_json_object

PATH = "/site/1.0.0/kills"
_PAGE = 100
_MOST_PAGES = 5


class KillAuditLog:
    """The record of one site.

    Args:
        http: how to reach the gateway.
        gateway_url: base of the gateway.
        token: of the application Operator.
    """

    def __init__(self, http: HttpClient, gateway_url: str, token: Token) -> None:
        self._http = http
        self._url = gateway_url + PATH
        self._identity = Identity.from_token("Operator", token.access_token)

    def add(self, act: Mapping[str, Any]) -> dict[str, Any]:
        """Record an act; the same one twice is recorded once.

        Raises:
            ProvisioningError: it is not recorded.
        """
        return parse_json_object(self._http.call("POST", self._url, self._identity, accept=(200, 201), json=dict(act)))

    def list_newest(self) -> list[dict[str, Any]]:
        """The newest five hundred acts, the newest first.

        Raises:
            ProvisioningError: the record can not be read.
        """
        acts: list[dict[str, Any]] = []
        before: int | None = None
        for _ in range(_MOST_PAGES):
            query = {"limit": str(_PAGE)} | ({} if before is None else {"before": str(before)})
            page = parse_json_object(self._http.call("GET", self._url, self._identity, params=query))
            acts += cast("list[dict[str, Any]]", page.get("kills") or [])
            before = page.get("next_before")
            if before is None:
                break
        return acts
