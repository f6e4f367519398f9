"""Find and end processes by a variable of their environment. Runs on a person's machine (Linux).

A process group is not enough: a program may put its children into sessions of their own. They still inherit
the environment, so every process of an instance carries CHRONOS_INSTANCE and every process of a cloud carries
CHRONOS_CLOUD.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROCESSES = Path("/proc")
POLL_SECONDS = 0.05


def find(variable: str, value: str) -> list[int]:
    """Return the ids of the living processes whose environment holds `variable=value`, this one left out."""
    marker = f"{variable}={value}".encode()
    return [pid for pid in _ids() if pid != os.getpid() and marker in environment(pid)]


def command_line(pid: int) -> str:
    """Return the command line of a process, empty when it is gone."""
    with contextlib.suppress(OSError):
        return (PROCESSES / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def environment(pid: int) -> list[bytes]:
    """Return the `NAME=value` entries of a process's environment, none when it is gone or a zombie."""
    with contextlib.suppress(OSError):
        return (PROCESSES / str(pid) / "environ").read_bytes().split(b"\0")
    return []


def state(pid: int) -> str:
    """Return the one-letter state of a process from /proc (R, S, T for stopped, Z, ...), empty when it is gone."""
    with contextlib.suppress(OSError):
        return (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    return ""


def send(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each process that still exists."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def end(search: Callable[[], list[int]], grace_seconds: float) -> list[int]:
    """End all that `search` finds: SIGTERM, after `grace_seconds` SIGKILL. Returns what survived, normally nothing."""
    send(search(), signal.SIGTERM)
    if _wait_until_none(search, grace_seconds):
        return []
    return kill(search)


def kill(search: Callable[[], list[int]], within_seconds: float = 5.0) -> list[int]:
    """Kill all that `search` finds, again and again because a process may fork while it is looked for."""
    deadline = time.monotonic() + within_seconds
    while (found := search()) and time.monotonic() < deadline:
        send(found, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    return found


def freeze(search: Callable[[], list[int]], within_seconds: float = 2.0) -> list[int]:
    """Stop (SIGSTOP) all that `search` finds, children forked meanwhile included. Returns the stopped ids."""
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        moving = [pid for pid in search() if state(pid) != "T"]
        if not moving:
            break
        send(moving, signal.SIGSTOP)
        time.sleep(POLL_SECONDS)
    return search()


def _wait_until_none(search: Callable[[], list[int]], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while search():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _ids() -> Iterator[int]:
    return (int(entry.name) for entry in PROCESSES.iterdir() if entry.name.isdigit())
