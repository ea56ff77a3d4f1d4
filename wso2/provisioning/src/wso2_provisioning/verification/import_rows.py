"""Importing a plan and an API, a backend that is down, an API that is blocked.

Source of what is expected: WSO2 API Manager 4.6.0 (carbon-apimgt 9.33.90, ThrottlingApiServiceImpl, ImportUtils).
"""

from functools import cached_property

from pydantic import SecretStr

from wso2_provisioning import admin, publisher
from wso2_provisioning.admin import import_file
from wso2_provisioning.verification import own_artifacts as own
from wso2_provisioning.verification.rows import Row, Seen
from wso2_provisioning.verification.site import Site
from wso2_provisioning.verification.told import body_of, coded, compared, expected
from wso2_provisioning.wire import listed
from wso2_terms.codes import API_BLOCKED, CONNECTION_FAILED

IMPORTS, MOST_REVISIONS = 6, 5
REACHES_S = 10.0
_BLOCKED = f"{API_BLOCKED.http_status} {API_BLOCKED.code} within {REACHES_S:.0f} s"


class ImportRows:
    """The rows, over one plan and one API made for them."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def rows(self) -> list[Row]:
        """Every row but the last, in the order in which they are looked at."""
        needs = "administrator"
        return [
            Row("plan imported, again, overwritten", needs, "201, 409, 200", self._plan),
            Row(f"API imported {IMPORTS} times", needs, f"one id, {MOST_REVISIONS} revisions, one deployed", self._api),
            Row("its backend is down", "the gateway", expected(CONNECTION_FAILED), self._backend_down),
        ]

    def last_rows(self) -> list[Row]:
        """What stops the API: after everything that calls it."""
        return [Row("API blocked", "the gateway", f"200, then {_BLOCKED}", self._blocked)]

    @cached_property
    def token(self) -> SecretStr:
        """A token for the API, subscribed to it."""
        site = self._site
        keys = site.application("Imports", subscribed=False)
        site.portal.subscribe(site.application_id("Imports"), self.api_id, own.PLAN)
        return site.token(keys, own.SCOPE)

    @cached_property
    def api_id(self) -> str:
        """The API's id, imported where it is not."""
        return self.lead_to(own.NOBODY)

    def lead_to(self, backend_url: str) -> str:
        """Import the API with a backend and return its id."""
        project = own.own_project(self._site.project.api, backend_url)
        self._site.own_api_id = self._site.publisher.import_project(project)
        return self._site.own_api_id

    def _plan(self) -> Seen:
        path = f"{admin.BASE_PATH}/throttling/policies/import"
        statuses = [
            self._site.manage("POST", path, params={"overwrite": overwrite}, files=import_file(own.own_plan()))
            for overwrite in ("false", "false", "true")
        ]
        return Seen(", ".join(str(answer.status_code) for answer in statuses))

    def _api(self) -> Seen:
        ids = {self.api_id} | {self.lead_to(own.NOBODY) for _ in range(IMPORTS - 1)}
        path = f"{publisher.BASE_PATH}/apis/{self.api_id}/revisions"
        kept = listed(body_of(self._site.manage("GET", path)))
        deployed = listed(body_of(self._site.manage("GET", path, params={"query": "deployed:true"})))
        amount = {1: "one"}
        return Seen(
            f"{amount.get(len(ids), len(ids))} id, {len(kept)} revisions, "
            f"{amount.get(len(deployed), len(deployed))} deployed"
        )

    def _backend_down(self) -> Seen:
        self._site.settle(self.token, own.VERSIONED_CONTEXT + own.TARGET)
        return compared(self._site.call(self.token, own.VERSIONED_CONTEXT + own.TARGET), CONNECTION_FAILED)

    def _blocked(self) -> Seen:
        token = self.token
        answer = self._site.publish("/apis/change-lifecycle", {"apiId": self.api_id, "action": "Block"})
        wanted = f"{API_BLOCKED.http_status} {API_BLOCKED.code}"
        path = own.VERSIONED_CONTEXT + own.TARGET
        found, took_s = self._site.watch(
            lambda: self._site.call(token, path), lambda it: coded(it) == wanted, REACHES_S
        )
        if found is None:
            return Seen(f"{answer.status_code}, then {coded(self._site.call(token, path))}")
        return Seen(f"{answer.status_code}, then {_BLOCKED}", f"{took_s:.2f} s")
