"""A stack of our own: processes on free ports, a temporary state, and a clock that is steered."""

import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.attacks.minutes import Minutes, SteeredMinutes
from tests.attacks.stack import Stack
from tests.attacks.traffic import Text

from ev_service.clock import write_clock_file
from local_stack.controls import build_provisioning_settings
from local_stack.environment import free_ports, make_passwords
from local_stack.stack import ARTIFACTS, SERVICES, StackPlan, running
from local_stack.stack import Stack as RunningStack
from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_terms.artifacts import Artifacts, load_artifacts

OWN = "local gateway, processes of this run, clock steered"
_NOT_LOGS = frozenset({".pem", ".json"})
_SECRET_FOLDERS = frozenset({"credentials", "certificates"})


@contextmanager
def own_stack(report: Callable[[str], None]) -> Generator[tuple[Stack, RunningStack]]:
    """Start a stack and end it on leaving; give it as what is attacked, and as what runs.

    Raises:
        ProcessError: a process ended or was not ready in time.
    """
    # Resolved, because some systems hand out a temporary folder behind a link.
    with tempfile.TemporaryDirectory(prefix="ev-prove-") as folder:
        state = Path(folder).resolve()
        clock_file = state / "clock.json"
        write_clock_file(clock_file, datetime.now(UTC))
        plan = StackPlan(free_ports(), make_passwords(), state, {"SIM_CLOCK_FILE": str(clock_file)})
        with running(plan, lambda step: report(f"starting a stack of our own: {step}")) as stack:
            yield of_plan(plan, OWN, SteeredMinutes(clock_file), state), stack


def of_plan(plan: StackPlan, label: str, minutes: Minutes, own_state: Path | None) -> Stack:
    """Describe a stack of processes on this machine.

    Args:
        plan: of the stack.
        label: what it is.
        minutes: how time passes there.
        own_state: its folder, where this run started it.
    """
    return Stack(
        label=label,
        is_local=True,
        settings=build_provisioning_settings(plan),
        artifacts=artifacts(plan.operator_environment()),
        minutes=minutes,
        ca_file=plan.ca_file,
        services={service: plan.service_url(service) for service in SERVICES},
        agent_url=plan.agent_url,
        signing_key=plan.certificates / "gateway-signing-key.pem",
        own_state=own_state,
        logs=lambda: texts_under(plan.state),
        passwords=asdict(plan.passwords),
    )


def artifacts(environment: dict[str, str]) -> Artifacts:
    """The artifacts of this checkout."""
    return load_artifacts(ARTIFACTS, {**DEFAULT_BACKENDS, **environment})


def texts_under(folder: Path) -> Iterable[Text]:
    """Everything that a stack wrote, but for the files that are there to hold secrets."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and path.suffix not in _NOT_LOGS and not _SECRET_FOLDERS & set(inside.parts):
            yield str(inside), path.read_bytes()
