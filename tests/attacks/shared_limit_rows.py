"""Limits of all applications together, at the attacker's own API and tool: theirs are spent and nobody else's."""

from tests.attacks import own_api
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import fault, table
from tests.attacks.limit_rows import burst, shared_limit
from tests.attacks.mcp_calls import OWN_PATH, call_tool
from tests.attacks.mcp_rows import tools_token
from tests.attacks.rows import Group, Observation, Row

from wso2_terms.codes import API_THROTTLED, RESOURCE_THROTTLED


def rows() -> tuple[Row, ...]:
    """Every row, in order: the first begins the minute in which the second counts, too."""
    api, tool = f"{fault(API_THROTTLED)} at the limit", f"{fault(RESOURCE_THROTTLED)} at the limit"
    return table(
        Group.LIMITS,
        ("api", "calls over the API's limit for all", api, _api),
        ("tool", "calls over the tool's limit for all", tool, _tool),
    )


def _api(run: AttackRun) -> Observation:
    token = run.good_token
    limit = shared_limit(run, run.stack.artifacts.find_api("SolarAPI").api.api_throttling_policy)
    run.minutes.fresh()
    return burst(run, lambda: run.call(token, own_api.OPEN_PATH), limit, API_THROTTLED)


def _tool(run: AttackRun) -> Observation:
    token = tools_token(run, own_api.TOOL_SCOPE)
    limit = shared_limit(run, run.stack.artifacts.find_mcp_server("SolarMCP").server.operations[0].throttling_policy)
    run.minutes.roomy()
    return burst(run, lambda: call_tool(run, OWN_PATH, own_api.TOOL, token), limit, RESOURCE_THROTTLED)
