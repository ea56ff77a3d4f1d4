"""What must be nowhere: every secret and token of the run, in whatever was answered and written. Comes last."""

import httpx
from tests.attacks.ground import Ground
from tests.attacks.rows import Group, Observation, Row, RowSkippedError
from tests.attacks.told import table

_MOST_TOLD = 5


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    return table(
        Group.LEAKS,
        ("answers", "secrets in answers and errors", "nowhere", _answers),
        ("written", "secrets in logs, metrics log, ledger", "nowhere", _written),
        ("metrics", "secrets in /metrics and /health", "nowhere", _metrics),
        ("left-behind", "what is left of the attacker", "nothing", _left_behind),
    )


def _answers(ground: Ground) -> Observation:
    traffic = ground.traffic
    return _told(traffic.leaks(), f"{traffic.secrets} secrets in {traffic.answers} answers")


def _written(ground: Ground) -> Observation:
    texts = list(ground.stack.logs())
    if not texts:
        raise RowSkippedError("needs logs that can be read from here")
    size_kb = sum(len(text) for _, text in texts) // 1024
    return _told(ground.traffic.leaks(texts), f"{ground.traffic.secrets} secrets in {len(texts)} files, {size_kb} KiB")


def _metrics(ground: Ground) -> Observation:
    bases = [*ground.stack.services.values(), *filter(None, [ground.stack.agent_url])]
    reached = 0
    for base in bases:
        for path in ("/metrics", "/health", "/openapi.json"):
            try:
                ground.door.direct(base + path)
                reached += 1
            except httpx.TransportError:
                continue
    if not reached:
        raise RowSkippedError("needs a service or the agent that can be reached from here")
    return _told(ground.traffic.leaks(), f"{reached} pages")


def _left_behind(ground: Ground) -> Observation:
    return Observation("nothing" if ground.belongings.take_back(ground.report) else "something")


def _told(leaks: list[str], measured: str) -> Observation:
    return Observation("; ".join(leaks[:_MOST_TOLD]) or "nowhere", measured)
