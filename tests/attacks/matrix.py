"""The attack matrix: every row, in the order in which they are tried."""

from tests.attacks import (
    assertion_rows,
    baseline_rows,
    charger_rows,
    endpoint_rows,
    flood_rows,
    framing_rows,
    kill_rows,
    leak_rows,
    limit_rows,
    lying_charger_rows,
    mcp_message_rows,
    mcp_rows,
    own_agent_rows,
    own_charger_rows,
    own_key_rows,
    policy_rows,
    rights_rows,
    routing_rows,
    shared_limit_rows,
    stop_rows,
    token_rows,
    transport_rows,
)
from tests.attacks.rows import Row


def every_row() -> tuple[Row, ...]:
    """What must pass first, what looks for leaks last."""
    parts = (
        baseline_rows,
        token_rows,
        endpoint_rows,
        rights_rows,
        routing_rows,
        framing_rows,
        assertion_rows,
        own_key_rows,
        stop_rows,
        kill_rows,
        limit_rows,
        mcp_rows,
        mcp_message_rows,
        charger_rows,
        own_charger_rows,
        lying_charger_rows,
        flood_rows,
        policy_rows,
        shared_limit_rows,
        transport_rows,
        own_agent_rows,
        leak_rows,
    )
    return tuple(row for part in parts for row in part.rows())
