from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import httpx
import pytest
from pydantic import SecretStr

from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.http_client import HttpClient, Identity
from wso2_provisioning.mcp_servers import MAX_REVISIONS, McpServers
from wso2_provisioning.mcp_steps import ensure_mcp_servers
from wso2_provisioning.steps import LiveProduct
from wso2_terms.artifacts import Artifacts

if TYPE_CHECKING:
    from tests.unit.wso2_provisioning.conftest import JSON, FakeWso2

URL = "https://localhost:9443"


class CutOffError(BaseException):
    """The run ends here, as if its process had been killed."""


class Ground:
    """A fake WSO2 with the APIs of the artifacts, and SolarMCP alone to be given to it."""

    def __init__(self, fake: "FakeWso2", artifacts: Artifacts) -> None:
        self.fake = fake
        self.artifacts = replace(artifacts, mcp_servers=(artifacts.find_mcp_server("SolarMCP"),))
        self.apis: dict[str, LiveProduct] = {}
        for project in artifacts.apis:
            api_id = f"id-of-{project.api.name}"
            fake.apis[api_id] = {"name": project.api.name, "scopes": [], "definition": project.definition}
            self.apis[project.api.name] = LiveProduct(project, api_id, vhosts={"Default": "gateway.example"})

    def run(self, *, check: bool = False, cut_off_after: int | None = None) -> ChangeLog:
        asked = 0

        def answer(request: httpx.Request) -> httpx.Response:
            nonlocal asked
            if asked == cut_off_after:
                raise CutOffError
            asked += 1
            return self.fake(request)

        changes = ChangeLog(is_dry_run=check, report=lambda _: None)
        password = SecretStr(self.fake.users["admin"]["password"])
        with HttpClient(None, transport=httpx.MockTransport(answer)) as http:
            servers = McpServers(http, URL, Identity.from_password("admin", password))
            ensure_mcp_servers(servers, self.artifacts, self.apis, changes)
        return changes

    @property
    def server(self) -> "JSON":
        return next(iter(self.fake.mcp_servers.values()))

    @property
    def served(self) -> "JSON":
        return self.fake.served(self.server["id"])

    @property
    def kept(self) -> "list[JSON]":
        return self.fake.revisions[self.server["id"]]


@pytest.fixture
def ground(fake: "FakeWso2", artifacts: Artifacts) -> Ground:
    return Ground(fake, artifacts)


def test_a_server_is_made_published_and_served_with_the_limits_and_scopes_of_its_tools(ground: Ground) -> None:
    ground.run()

    (tool,) = ground.served["operations"]
    assert ground.server["lifeCycleStatus"] == "PUBLISHED"
    assert (tool["target"], tool["scopes"], tool["throttlingPolicy"]) == (
        "getSolarStatus",
        ["solar:tools"],
        "EnergyBackend60PerMin",
    )
    assert ground.server["operations"][0]["apiOperationMapping"]["apiId"] == "id-of-SolarAPI"
    assert ground.kept[0]["deploymentInfo"] == [
        {"name": "Default", "vhost": "gateway.example", "displayOnDevportal": True}
    ]


def test_a_second_run_changes_nothing(ground: Ground) -> None:
    ground.run()
    mutations = ground.fake.mutations

    assert ground.run().entries == []
    assert ground.run(check=True).entries == []
    assert ground.fake.mutations == mutations


def test_a_step_that_fails_anywhere_is_completed_by_the_next_run(ground: Ground, artifacts: Artifacts) -> None:
    ground.run()
    complete, requests = ground.served, len(ground.fake.requests)

    for cut in range(requests):
        again = Ground(type(ground.fake)(), artifacts)
        with pytest.raises(CutOffError):
            again.run(cut_off_after=cut)

        again.run()

        assert again.served == complete, f"cut off after {cut} requests"
        assert again.run(check=True).entries == []
    assert requests > 8


def test_check_on_an_empty_wso2_names_the_server_and_makes_nothing(ground: Ground) -> None:
    changes = ground.run(check=True)

    assert changes.entries == ["bring MCP server SolarMCP-1.0.0 up to date (new)"]
    assert ground.fake.mutations == 0


Change = Callable[["JSON"], object]


def tool(change: Change) -> "Callable[[JSON], object]":
    return lambda server: change(server["operations"][0])


CHANGES: list[tuple[Change, str]] = [
    (tool(lambda it: it.update(scopes=[])), "tool GET /solar-status: scopes"),
    (tool(lambda it: it.update(throttlingPolicy="Unlimited")), "tool GET /solar-status: throttlingPolicy"),
    (tool(lambda it: it.update(target="sun")), "tool GET /solar-status: name"),
    (tool(lambda it: it["apiOperationMapping"].update(apiId="id-of-GridAPI")), "tool GET /solar-status: API"),
    (lambda it: it["operations"].clear(), "tool GET /solar-status missing"),
    (lambda it: it["scopes"][0]["scope"].update(bindings=["Internal/everyone"]), "scopes"),
    (lambda it: it.update(policies=["Unlimited"]), "policies"),
    (lambda it: it.update(throttlingPolicy="10KPerMin"), "throttlingPolicy"),
    (lambda it: it.update(lifeCycleStatus="CREATED"), "lifeCycleStatus"),
]


@pytest.mark.parametrize(("change", "told"), CHANGES)
def test_what_governs_calls_and_was_changed_by_hand_is_named_and_put_back(
    ground: Ground, change: Change, told: str
) -> None:
    ground.run()
    complete = ground.served
    change(ground.server)

    assert ground.run(check=True).entries == [f"bring MCP server SolarMCP-1.0.0 up to date ({told})"]

    ground.run()
    assert ground.served == complete
    assert ground.run(check=True).entries == []


def test_a_tool_that_somebody_added_is_named_and_taken_out(ground: Ground) -> None:
    ground.run()
    added = {"apiOperationMapping": {"apiId": "x", "backendOperation": {"target": "/kills", "verb": "POST"}}}
    ground.server["operations"].append(added)

    assert "tool POST /kills added" in ground.run(check=True).entries[0]

    ground.run()
    assert len(ground.server["operations"]) == 1


def test_a_revision_that_somebody_else_deployed_is_named_and_replaced(ground: Ground) -> None:
    ground.run()
    ground.kept[0]["description"] = "by hand"

    assert "other revision deployed to Default" in ground.run(check=True).entries[0]

    ground.run()
    assert [bool(one["deploymentInfo"]) for one in ground.kept] == [False, True]


def test_an_undeployed_server_is_deployed_again(ground: Ground) -> None:
    ground.run()
    ground.kept[0]["deploymentInfo"] = []

    assert "not deployed to Default" in ground.run().entries[0]
    assert ground.served["operations"]


def test_at_five_revisions_the_oldest_that_is_not_deployed_gives_way(ground: Ground) -> None:
    ground.run()
    for policy in ["Unlimited", "Gold"] * 4:
        ground.server["policies"] = [policy]
        ground.run()

    numbers = [int(one["displayName"].split()[1]) for one in ground.kept]
    assert numbers == [5, 6, 7, 8, 9]
    assert [bool(one["deploymentInfo"]) for one in ground.kept] == [False] * 4 + [True]


def test_five_revisions_that_are_all_deployed_are_said(ground: Ground) -> None:
    ground.run()
    elsewhere: JSON = {"description": "", "deploymentInfo": [{"name": "Elsewhere"}], "frozen": {}}
    ground.kept.extend({"id": f"r{n}", "displayName": f"Revision {n}"} | elsewhere for n in range(2, MAX_REVISIONS + 1))
    ground.server["policies"] = ["Unlimited"]

    with pytest.raises(ProvisioningError, match="5 revisions, and all are deployed"):
        ground.run()


def test_a_blocked_server_stays_blocked(ground: Ground) -> None:
    ground.run()
    ground.server.update(lifeCycleStatus="BLOCKED", policies=["Unlimited"])
    mutations = ground.fake.mutations

    changes = ground.run()

    assert changes.entries == []
    assert "stays so" in changes.warnings[0]
    assert ground.fake.mutations == mutations


@pytest.mark.parametrize(
    ("foreign", "told"),
    [
        ({"subtypeConfiguration": {"subtype": "SERVER_PROXY"}}, "of subtype SERVER_PROXY"),
        ({"context": "/somewhere"}, "served under /somewhere"),
    ],
)
def test_a_foreign_server_with_our_name_is_said_and_left_alone(ground: Ground, foreign: "JSON", told: str) -> None:
    ground.run()
    ground.server.update(foreign)
    mutations = ground.fake.mutations

    with pytest.raises(ProvisioningError, match=told):
        ground.run()

    assert ground.fake.mutations == mutations


def test_a_context_that_another_server_has_is_said(ground: Ground) -> None:
    ground.run()
    ground.server["name"] = "Other"

    with pytest.raises(ProvisioningError, match="context /solar-mcp"):
        ground.run()


def test_a_changed_text_of_the_api_reaches_its_tool(ground: Ground, artifacts: Artifacts) -> None:
    ground.run()
    solar = artifacts.find_api("SolarAPI")
    paths = cast("JSON", solar.definition["paths"])
    described = paths["/solar-status"]["get"] | {"description": "What the panels give"}
    changed = replace(solar, definition={**solar.definition, "paths": {"/solar-status": {"get": described}}})
    ground.artifacts = replace(ground.artifacts, apis=(changed,))

    ground.run()

    assert ground.served["operations"][0]["description"] == "What the panels give"
    assert ground.run(check=True).entries == []


def test_a_wso2_that_takes_nothing_over_is_an_error(ground: Ground) -> None:
    ground.fake.mcp_forgets = {"scopes": []}

    with pytest.raises(ProvisioningError, match="still differs in scopes"):
        ground.run()
