"""Rows on imports of a plan and an API, on a backend that is down, and on a blocked API.

Source of the expectations: WSO2 API Manager 4.6.0 (carbon-apimgt 9.33.90, ThrottlingApiServiceImpl, ImportUtils).
"""

from functools import cached_property

from pydantic import SecretStr

from wso2_provisioning import admin, publisher
from wso2_provisioning.admin import build_import_file
from wso2_provisioning.http_client import list_entries
from wso2_provisioning.verification import own_artifacts as own
from wso2_provisioning.verification.context import VerificationContext
from wso2_provisioning.verification.formatting import (
    compare_with_fault,
    format_documented_fault,
    format_status,
    parse_body,
)
from wso2_provisioning.verification.rows import Observation, Row
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
