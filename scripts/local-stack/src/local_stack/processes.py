"""Child processes: each starts in a process group of its own, is monitored, and is always ended.

Because of that group only the driver receives Ctrl-C, and it then ends them in order. Standard input of each is a pipe
from the driver, so that those started by `local_stack.attached` also end when the driver is killed.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ev_service.errors import EvError
from local_stack import attached
from local_stack.forking import ForkedProcess, ForkServer

# All processes end within 5 s of the signal, including those that ignore it.
_GRACE_S = 3.5
_POLL_S = 0.02


class ProcessError(EvError):
    """A process of the stack ended, or did not become ready."""

    code = "process_failed"


@dataclass(frozen=True, slots=True)
class Child:
    """One running process."""

    name: str
    """Name of the process in reports and of its log."""

    process: subprocess.Popen[bytes] | ForkedProcess
    """The process."""

    log: Path
    """File of its output."""

    def log_tail(self) -> str:
        """Return the last lines of its log."""
        return " | ".join(self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:])


class Processes:
    """Starts processes and ends all of them on leaving the `with` block.

    Args:
        log_dir: folder for one log file each.
        environment: variables of every process; nothing else is passed on.
        preloaded: names of modules that a fork server imports, which then starts the stack's modules; if empty, each
            module starts as its own program.
    """

    def __init__(self, log_dir: Path, environment: Mapping[str, str], preloaded: Sequence[str] = ()) -> None:
        self._log_dir = log_dir
        self._environment = dict(environment)
        self._children: list[Child] = []
        self._preloaded = preloaded
        self._server: ForkServer | None = None

    def __enter__(self) -> Self:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        if self._preloaded:
            self._server = ForkServer(self._environment, self._log_dir / "forks.log", self._preloaded)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._server is not None:
            self._server.close()

    def start_module(
        self,
        name: str,
        target: str,
        *arguments: str,
        environment: Mapping[str, str],
        folder: Path | None = None,
    ) -> Child:
        """Start a module, or a script that ends in `.py`, that ends with this process; it writes to `NAME.log`."""
        if self._server is None:
            return self.start(name, attached.build_command(target, *arguments), environment, folder)
        log = self._log_dir / f"{name}.log"
        with log.open("ab") as output:
            process = self._server.start(target, arguments, self._environment | dict(environment), folder, output)
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def wait_for_end(self, child: Child) -> None:
        """Wait for the end of a process that ends by itself.

        Raises:
            ProcessError: its exit code is not 0; with the end of its log.
        """
        code = child.process.wait()
        _end(self._forget(child.name))
        if code != 0:
            raise ProcessError(f"{child.name} failed: {child.log_tail()}")

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
    ) -> Child:
        """Start a process; its output goes to `NAME.log`."""
        log = self._log_dir / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                list(command),
                cwd=folder,
                env=self._environment | dict(environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=os.name != "nt",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def wait_until_ready(self, name: str, probe: Callable[[], str | None], timeout_s: float) -> None:
        """Wait until a process is ready, while every process runs.

        Args:
            name: name of the process.
            probe: returns why the process is not ready, None once it is.
            timeout_s: maximum time [s].

        Raises:
            ProcessError: a process ended (the message has the end of its log), or the time is over (it has the reason,
                the log and the setting that allows more time).
        """
        deadline = time.monotonic() + timeout_s
        while (reason := probe()) is not None:
            self.check()
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"{name} was not ready within {timeout_s:g} s: {reason}. Its log: {self._log_dir / f'{name}.log'}. "
                    "On a slow or busy machine give it longer: STACK_READY_S=180"
                )
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Check that every process runs.

        Raises:
            ProcessError: a process ended; with the end of its log.
        """
        for child in self._children:
            if child.process.poll() is not None:
                raise ProcessError(f"{child.name} ended with {child.process.returncode}: {child.log_tail()}")

    def end(self, name: str) -> None:
        """End one process by SIGTERM."""
        _end(self._forget(name))

    def kill(self, name: str) -> None:
        """Kill one process, as in a crash."""
        for child in self._forget(name):
            child.process.kill()
            _end([child])

    def _forget(self, name: str) -> list[Child]:
        """Stop monitoring the processes of a name, and return them."""
        matching = [child for child in self._children if child.name == name]
        self._children = [child for child in self._children if child.name != name]
        return matching

    def stop(self) -> None:
        """End every process, the last one first; a process that ignores the signal is killed."""
        children, self._children = self._children[::-1], []
        _end(children)


def _end(children: Sequence[Child]) -> None:
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    for child in children:
        try:
            child.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        if child.process.stdin is not None:
            child.process.stdin.close()
