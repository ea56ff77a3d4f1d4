"""Runs the steps of a kill or revive: each is timed, reported and saved; a failed one does not stop the next."""

import time
from collections.abc import Callable

from ev_service.errors import EvError
from wso2_provisioning.switch.kill_audit import EventJournal, KillEvent, Step, StepOutcome, to_one_line

Report = Callable[[str], None]
StepResult = tuple[StepOutcome, str]


class StepRunner:
    """Runs the steps of one event.

    Args:
        act: event to which the steps are added.
        journal: saves the event after each step.
        say: prints a line.
        began: start of the command, in `time.monotonic` [s].
    """

    def __init__(self, act: KillEvent, journal: EventJournal, say: Report, began: float) -> None:
        self.event = act
        self.is_interrupted = False
        self._journal = journal
        self._say = say
        self._began = began

    @property
    def elapsed_s(self) -> float:
        """Time since the command was given [s]."""
        return round(time.monotonic() - self._began, 3)

    def run_step(self, name: str, do: Callable[[], StepResult], *, is_last: bool = False) -> bool:
        """Run a step; Ctrl-C ends it and skips the others except the last.

        Args:
            name: of the step.
            do: carries it out and returns its outcome and a detail.
            is_last: run after Ctrl-C as well.

        Returns:
            Whether the required state is reached.
        """
        began = time.monotonic()
        outcome, detail = self._run(do, is_last)
        took_s = round(time.monotonic() - began, 3)
        self.event.steps.append(Step(name, outcome, took_s, to_one_line(detail)))
        if not is_last:
            self._journal.save(self.event)
        self._say(f"{self.elapsed_s:7.3f} s  {name:<32} {outcome:<8} {detail}")
        return outcome in ("done", "already")

    def _run(self, do: Callable[[], StepResult], is_last: bool) -> StepResult:
        if self.is_interrupted and not is_last:
            return "skipped", "stopped by Ctrl-C"
        try:
            return do()
        except EvError as error:
            return "failed", error.message
        except KeyboardInterrupt:
            self.is_interrupted = True
            return "failed", "stopped by Ctrl-C; this step may have been done all the same"
