"""MCP messages for the oracle and the local gateway: right ones, broken ones, and those of other revisions."""

import itertools
import json
import random
from typing import Any

REVISIONS: tuple[Any, ...] = ("2025-06-18", "2024-11-05", "2025-03-26", "2025-11-25", "2026-07-28", "", None, 3, True)
IDS: tuple[Any, ...] = (1, 0, -7, "a", "", "7", 1.5, 1e3, None, True, [1], {"a": 1}, 2**62)
METHODS: tuple[Any, ...] = (
    *("initialize", "notifications/initialized", "ping", "tools/list", "tools/call"),
    *("prompts/list", "resources/list", "resources/templates/list"),
    *("server/discover", "logging/setLevel", "notifications/cancelled", "Ping", " ping", "", None, 3, True),
)
PARAMS: tuple[Any, ...] = (
    None,
    {},
    *(
        {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}
        for revision in REVISIONS
    ),
    *({"name": name, "arguments": {}} for name in ("getNothing", "", None, 7, True)),
    {"name": "getNothing", "arguments": None},
    {"cursor": "x", "_meta": {"progressToken": 1}},
)
VERSIONS: tuple[Any, ...] = ("2.0", "1.0", 2.0, None)
NO_MESSAGES = ("", "null", "[]", "7", '"ping"', "{", "[{}]", '{"jsonrpc":"2.0","id":1,"method":"ping"} x', "é")
BROKEN_PARTS: tuple[dict[str, Any], ...] = (
    {"method": ["ping"]},
    {"method": {"a": 1}},
    {"params": []},
    {"params": "x"},
    {"params": 7},
)


def messages(count: int) -> list[str]:
    """A fixed choice among all combinations, and every message that is none."""
    chance = random.Random(46)
    all_of_them = list(itertools.product(VERSIONS, IDS, METHODS, PARAMS))
    chosen = [_message(*parts) for parts in chance.sample(all_of_them, count)]
    usual = [_message("2.0", 1, method, params) for method in METHODS for params in PARAMS]
    broken = [json.dumps({"jsonrpc": "2.0", "id": 5, "method": "ping"} | part) for part in BROKEN_PARTS]
    return [*NO_MESSAGES, *broken, *usual, *chosen]


def _message(version: object, message_id: object, method: object, params: object) -> str:
    parts = {"jsonrpc": version, "id": message_id, "method": method, "params": params}
    return json.dumps({name: value for name, value in parts.items() if value is not None})
