"""Paths and verbs: nothing is reached but what is published, however it is spelled.

Each spelling aims at something that its service would answer to anybody, so that a gateway which lets one through
shows it by a success.
"""

from functools import partial

from tests.attacks import own_api
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import describe_access, format_status, refusals, summarize, table
from tests.attacks.rows import Group, Observation, Row

_BASE = own_api.VERSIONED_CONTEXT
SPELLINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "dots": ("/../ in a path", (f"{_BASE}/livez/../metrics", f"{_BASE}/../../metrics", f"{_BASE}/./metrics")),
    "encoded-dots": ("%2e%2e in a path", (f"{_BASE}/%2e%2e/%2e%2e/metrics", f"{_BASE}/livez/%2E%2E/metrics")),
    "encoded-slashes": ("%2f and %5c in a path", (f"{_BASE}/livez%2f..%2fmetrics", f"{_BASE}/livez%5c..%5cmetrics")),
    "double-encoding": (
        "%252e%252e%252f in a path",
        (f"{_BASE}/%252e%252e%252fmetrics", f"{_BASE}/livez%252f..%252fmetrics"),
    ),
    "null-bytes": (
        "%00 and line ends in a path",
        (f"{_BASE}/livez%00", f"{_BASE}/metrics%00/livez", f"{_BASE}/livez%0d%0aX:%20y"),
    ),
    "overlong": (
        "overlong UTF-8 and broken escapes",
        (f"{_BASE}/%c0%ae%c0%ae/metrics", f"{_BASE}/livez%c0%af..%c0%afmetrics", f"{_BASE}/livez%zz"),
    ),
    "semicolons": (
        "; parameters in a path",
        (f"{_BASE}/..;/metrics", f"{_BASE}/metrics;/livez", f"{_BASE};x/livez/;/../metrics"),
    ),
    "slashes": ("// and \\ in a path", (f"{_BASE}//metrics", f"/{_BASE}/..\\metrics", f"{_BASE}\\..\\metrics")),
    "absolute": (
        "absolute URL as target",
        ("http://127.0.0.1/metrics", "https://localhost:9443/oauth2/jwks"),
    ),
}
"""What is tried, by id: a title and the paths."""


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    spelled = (
        (name, title, "refused each", partial(_try_spellings, paths)) for name, (title, paths) in SPELLINGS.items()
    )
    return table(
        Group.ROUTING,
        ("verb", "unpublished verbs", "405 405 each", _verbs),
        ("resource", "unpublished resource of a service", "404 404 each", _resources),
        ("api", "unknown API, unknown version", "404 404 each", _apis),
        (
            "encoded-letters",
            "encoded letters in a path, no token",
            ("401 900902 each", "404 404 each"),
            _letters,
        ),
        ("override", "headers that override verb or path", "as without them", _override),
        *spelled,
    )


def _verbs(run: AttackRun) -> Observation:
    token = run.good_token
    tries = [run.call(token, method=verb) for verb in ("DELETE", "PUT", "POST", "PATCH")]
    return Observation(summarize(map(format_status, tries)))


def _resources(run: AttackRun) -> Observation:
    token, context = run.good_token, run.stack.artifacts.find_api("SolarAPI").api.versioned_context
    paths = [f"{context}/{name}" for name in ("metrics", "health", "openapi.json", "docs", "kills")]
    return Observation(summarize(format_status(run.call(token, path)) for path in (*paths, f"{_BASE}/metrics")))


def _apis(run: AttackRun) -> Observation:
    token, leaf = run.good_token, run.path.rpartition("/")[2]
    paths = (
        "/attack-nothing/1.0.0/livez",
        f"/solar/9.9.9/{leaf}",
        f"/solar/{leaf}",
        f"/SOLAR/1.0.0/{leaf}",
        "/metrics",
    )
    return Observation(summarize(format_status(run.call(token, path)) for path in paths))


def _letters(run: AttackRun) -> Observation:
    paths = (run.path.replace("status", "%73tatus"), run.path.replace("solar", "%73olar", 1))
    return Observation(summarize(format_status(run.call(path=path)) for path in paths))


def _override(run: AttackRun) -> Observation:
    asked = {
        "X-HTTP-Method-Override": "DELETE",
        "X-Method-Override": "DELETE",
        "X-Original-URL": "/metrics",
        "X-Rewrite-URL": "/metrics",
    }
    token = run.good_token
    plain, bent = run.call(token, own_api.OPEN_PATH), run.call(token, own_api.OPEN_PATH, headers=asked)
    is_same = (plain.status_code, plain.content) == (bent.status_code, bent.content)
    # A gateway that lets everything through answers the same, too: the path beside must be refused.
    refused = describe_access(run.call(token, f"{_BASE}/metrics", headers=asked))
    return Observation(
        "as without them" if is_same and refused != "let through" else f"{format_status(bent)}, {refused}"
    )


def _try_spellings(paths: tuple[str, ...], run: AttackRun) -> Observation:
    token = run.good_token
    return refusals(run.access.verbatim(path, token) for path in paths)
