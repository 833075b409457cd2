"""Child processes that cannot outlive their parent, on Linux and macOS.

Between parent and command stands a guard: this file, run as a script. It holds the read end of a pipe whose
only writer is the parent. A byte on the pipe is a signal number to pass on to the command; the end of the
pipe means that the parent is gone, however it went, and the guard then ends the command.

The guard is started by file path in isolated mode (`-I -S`), so this module imports nothing but the standard
library.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

GRACE_S: Final = 5.0
"""Seconds that an orphaned command has between SIGTERM and SIGKILL."""


class ChildProcess:
    """A command in a session of its own: Ctrl-C in a terminal reaches the parent only, which then ends the command.

    Use `ChildProcess.start`. When the object is collected, or its process dies, the command ends too.
    """

    def __init__(self, guard: subprocess.Popen[bytes], *, name: str, pid: int, log_path: Path) -> None:
        self._guard = guard
        self.name = name
        self.pid = pid
        self.log_path = log_path

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        name: str,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        grace_s: float = GRACE_S,
    ) -> ChildProcess:
        """Starts `command` with stdout and stderr appended to `log_path`; `env` None inherits the parent's.

        `grace_s`: seconds between SIGTERM and SIGKILL once the parent has died.
        Raises OSError when the command cannot be started.
        """
        log_path.parent.mkdir(parents=True, exist_ok=True)
        guard_command = [sys.executable, "-I", "-S", __file__, name, str(grace_s), *command]
        with log_path.open("ab") as log:
            guard = subprocess.Popen(
                guard_command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=env,
                start_new_session=True,
            )
        return cls(guard, name=name, pid=_read_pid(guard, name, log_path), log_path=log_path)

    def poll(self) -> int | None:
        """Returns the exit code, negative for the signal that ended the command; None while it runs."""
        code = self._guard.poll()
        if code is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end and returns the exit code; raises TimeoutError after `timeout` seconds."""
        try:
            self._guard.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{self.name} (pid {self.pid}) still runs after {timeout} s") from error
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, signum: int) -> None:
        """Sends a signal to the command; does nothing when it has ended.

        The signal goes through the guard, which alone knows that the pid still belongs to the command.
        """
        if self.poll() is None and self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(bytes([signum]))

    def stop(self, timeout: float = 10.0) -> int:
        """Sends SIGTERM, then SIGKILL after `timeout` seconds; returns the exit code."""
        self.send_signal(signal.SIGTERM)
        try:
            return self.wait(timeout)
        except TimeoutError:
            return self.kill()

    def kill(self) -> int:
        """Sends SIGKILL to the command and to what it started; returns the exit code."""
        self.send_signal(signal.SIGKILL)
        return self.wait()


def _read_pid(guard: subprocess.Popen[bytes], name: str, log_path: Path) -> int:
    """Reads the guard's one line on stdout: the pid of the command, or why it did not start."""
    assert guard.stdout is not None
    assert guard.stdin is not None
    with guard.stdout as answer_pipe:
        answer = answer_pipe.read().decode(errors="replace").strip()
    if answer.isdecimal():
        return int(answer)
    guard.stdin.close()
    guard.wait()
    raise OSError(f"{name} did not start: {answer or 'its guard ended'}; see {log_path}")


def _guard(argv: Sequence[str]) -> NoReturn:
    """Runs as the guard: `argv` is the name (for `ps`), the grace period in seconds and the command."""
    _name, grace, *command = argv
    child = _start_command(command)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda received, _frame: _signal_group_leader(child, received))
    threading.Thread(target=_obey_parent, args=(child, float(grace)), daemon=True).start()
    code = child.wait()
    _kill_group(child)
    _exit_like(code)


def _start_command(command: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, stderr=2, start_new_session=True)
    except OSError as error:
        os.write(1, str(error).encode())
        os._exit(127)
    os.write(1, str(child.pid).encode())
    os.dup2(2, 1)  # closes the pipe: the parent reads to its end
    return child


def _obey_parent(child: subprocess.Popen[bytes], grace_s: float) -> None:
    # Signals must reach the main thread, or its wait() would not be interrupted to run the handler (macOS).
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    while order := os.read(0, 1):
        _signal_group_leader(child, order[0])
    _signal_group_leader(child, signal.SIGTERM)
    time.sleep(grace_s)  # the main thread ends the process as soon as the command has ended
    _signal_group_leader(child, signal.SIGKILL)


def _signal_group_leader(child: subprocess.Popen[bytes], signum: int) -> None:
    with contextlib.suppress(OSError):
        child.send_signal(signum)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kills what the command started and left behind: it would outlive the parent, too."""
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)


def _exit_like(code: int) -> NoReturn:
    """Ends with the command's exit code, or by the signal that ended the command."""
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler to reset
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        time.sleep(1)  # until the signal, which has ended the command, ends this process
    os._exit(code & 0xFF)


if __name__ == "__main__":
    _guard(sys.argv[1:])
