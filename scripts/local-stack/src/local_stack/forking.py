"""Starts the stack's modules as forks of one process that has imported what they share.

Started alone, each spends one to two seconds on imports and has its own copy of the modules in memory. The fork server
imports them once, opens no connection and starts no thread; a fork then runs the module with the arguments that its
own process would get. Variables and arguments are written to the fork's standard input and never reach the server, so
that no process can read the secrets of another. Linux only: system libraries elsewhere do not support a fork without
exec.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from local_stack import attached

IS_SUPPORTED = sys.platform == "linux"

_MESSAGE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class _Start:
    """Request that a fork reads from its standard input before it runs."""

    target: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str | None


class ForkedProcess:
    """A fork, with the methods of `subprocess.Popen` that the stack uses."""

    def __init__(self, server: "ForkServer", number: int, stdin: IO[bytes]) -> None:
        self._server = server
        self._number = number
        self.stdin = stdin
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        self._server.receive(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code.

        Args:
            timeout: maximum time [s].

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left_s = None if deadline is None else deadline - time.monotonic()
            if timeout is not None and left_s is not None and left_s <= 0:
                raise subprocess.TimeoutExpired(str(self._number), timeout)
            self._server.receive(left_s)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the process has ended."""
        self._server.send_signal(self._number, sig)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Client of the process that forks.

    Args:
        environment: variables of the server; `start` takes those of a fork.
        log: file of the server's output; its path is part of the command line of the server and every fork.
        preloaded: names of the modules that it imports.
    """

    def __init__(self, environment: Mapping[str, str], log: Path, preloaded: Sequence[str]) -> None:
        self._lock = threading.RLock()
        self._forks: dict[int, ForkedProcess] = {}
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local_stack.forking", str(log), *preloaded],
                env=dict(environment),
                stdin=theirs.fileno(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start(
        self,
        target: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path | None,
        output: IO[bytes],
    ) -> ForkedProcess:
        """Fork a process that runs a module or a script.

        Args:
            target: name of the module, or path of a script that ends in `.py`.
            arguments: its command line.
            environment: all its variables.
            folder: its working directory.
            output: file of its output.
        """
        request = _Start(target, list(arguments), dict(environment), None if folder is None else str(folder))
        reading, writing = os.pipe()
        stdin = os.fdopen(writing, "wb", buffering=0)
        try:
            stdin.write(json.dumps(asdict(request)).encode() + b"\n")
            with self._lock:
                fork = ForkedProcess(self, len(self._forks), stdin)
                self._forks[len(self._forks)] = fork
                self._send(b"start", [reading, output.fileno()])
        finally:
            os.close(reading)
        return fork

    def send_signal(self, number: int, sig: int) -> None:
        """Send a signal to one fork, unless it has ended."""
        with self._lock:
            self._send(f"signal {number} {int(sig)}".encode(), [])

    def receive(self, timeout_s: float | None) -> None:
        """Receive the exit codes of forks that have ended.

        Args:
            timeout_s: maximum time to wait for the first [s]; None waits without limit.
        """
        if not select.select([self._control], [], [], timeout_s)[0]:
            return
        with self._lock:
            while select.select([self._control], [], [], 0)[0]:
                message = self._control.recv(_MESSAGE_BYTES)
                if not message:
                    self._lose_all()
                    return
                number, code = map(int, message.split())
                self._forks[number].returncode = code

    def close(self) -> None:
        """End the server; forks that still run end by themselves."""
        self._control.close()
        self._process.wait()

    def _send(self, message: bytes, descriptors: list[int]) -> None:
        try:
            socket.send_fds(self._control, [message], descriptors)
        except BrokenPipeError:
            self._lose_all()

    def _lose_all(self) -> None:
        # Without the server the exit codes are unknown; each fork ends by itself when its standard input is closed.
        for fork in self._forks.values():
            if fork.returncode is None:
                fork.returncode = -signal.SIGKILL


def main() -> None:
    """Import the shared modules, then fork at every request; in a fork, run the requested module."""
    # Imported modules are no garbage, and a collection in a fork would copy the shared memory pages.
    gc.disable()
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()
    if _serve(socket.socket(fileno=sys.stdin.fileno())):
        start = _read_start(sys.stdin.fileno())
        os.environ.clear()
        os.environ.update(start.environment)
        if start.folder is not None:
            os.chdir(start.folder)
        attached.run(start.target, start.arguments)
    else:
        os._exit(0)


def _serve(control: socket.socket) -> bool:
    """Fork at every request until the starter has ended; return True in each fork, False in the server at its end."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
    pids: list[int] = []
    running: set[int] = set()
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            os.read(woken, _MESSAGE_BYTES)
            _report_exit_codes(control, pids, running)
        if control in ready:
            message, descriptors, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 2)
            match message.split():
                case [b"start"]:
                    pid = os.fork()
                    if pid == 0:
                        _become_fork(control, (woken, wake), descriptors)
                        return True
                    for descriptor in descriptors:
                        os.close(descriptor)
                    running.add(len(pids))
                    pids.append(pid)
                case [b"signal", number, sig]:
                    # A fork that ended and was not waited for keeps its process id, so no other process has it.
                    if int(number) in running:
                        os.kill(pids[int(number)], int(sig))
                case _:
                    return False


def _report_exit_codes(control: socket.socket, pids: Sequence[int], running: set[int]) -> None:
    for number in sorted(running):
        pid, status = os.waitpid(pids[number], os.WNOHANG)
        if pid:
            running.discard(number)
            try:
                control.send(f"{number} {os.waitstatus_to_exitcode(status)}".encode())
            except BrokenPipeError:
                return


def _become_fork(control: socket.socket, pipe: tuple[int, int], descriptors: Sequence[int]) -> None:
    """Leave the server's session, and drop its signal handlers and descriptors."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    control.detach()
    stdin, output = descriptors
    os.dup2(stdin, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in (*pipe, *descriptors):
        os.close(descriptor)


def _read_start(descriptor: int) -> _Start:
    # After the request, standard input only signals the end of the starter.
    text = b""
    while not text.endswith(b"\n"):
        part = os.read(descriptor, 1 << 16)
        if not part:
            sys.exit("the starter ended before it sent the request")
        text += part
    return _Start(**json.loads(text))


if __name__ == "__main__":
    main()
