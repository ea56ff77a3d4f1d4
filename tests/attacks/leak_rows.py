"""What must be nowhere: every secret and token of the run, in whatever was answered and written. Comes last."""

import httpx
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import table
from tests.attacks.rows import Group, Observation, Row, RowSkippedError

_MOST_TOLD = 5


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    return table(
        Group.LEAKS,
        ("answers", "secrets in answers and errors", "nowhere", _answers),
        ("written", "secrets in logs, metrics log, ledger", "nowhere", _search_logs),
        ("metrics", "secrets in /metrics and /health", "nowhere", _metrics),
        ("left-behind", "what is left of the attacker", "nothing", _search_files),
    )


def _answers(run: AttackRun) -> Observation:
    traffic = run.traffic
    return _format_leaks(traffic.leaks(), f"{traffic.secrets} secrets in {traffic.answers} answers")


def _search_logs(run: AttackRun) -> Observation:
    texts = list(run.stack.logs())
    if not texts:
        raise RowSkippedError("needs logs that can be read from here")
    size_kb = sum(len(text) for _, text in texts) // 1024
    return _format_leaks(
        run.traffic.leaks(texts), f"{run.traffic.secrets} secrets in {len(texts)} files, {size_kb} KiB"
    )


def _metrics(run: AttackRun) -> Observation:
    bases = [*run.stack.services.values(), *filter(None, [run.stack.agent_url])]
    reached = 0
    for base in bases:
        for path in ("/metrics", "/health", "/openapi.json"):
            try:
                run.access.direct(base + path)
                reached += 1
            except httpx.TransportError:
                continue
    if not reached:
        raise RowSkippedError("needs a service or the agent that can be reached from here")
    return _format_leaks(run.traffic.leaks(), f"{reached} pages")


def _search_files(run: AttackRun) -> Observation:
    return Observation("nothing" if run.resources.remove_all(run.report) else "something")


def _format_leaks(leaks: list[str], measured: str) -> Observation:
    return Observation("; ".join(leaks[:_MOST_TOLD]) or "nowhere", measured)
