"""Starts the worker in its own session, hears what it reports, and ends it. Runs in the supervisor."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Event = dict[str, Any]

POLL_SECONDS = 0.1
# No progress bars in the log, and no look at the Hugging Face Hub for what must come from the bucket.
QUIET = {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
LAST_LINES = 3
TAIL_BYTES = 4096


class WorkerProcess:
    """A running worker.

    Parameters
    ----------
    command : list of str
        Program and arguments; `--report-fd N` is added.
    log : Path
        Takes its standard output and error.
    environment : mapping
        The supervisor's environment variables; the quiet ones are added.
    """

    def __init__(self, command: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self.events: queue.Queue[Event | None] = queue.Queue()
        self.drained = False
        read_end, write_end = os.pipe()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            # Its own session: its process group can be ended whole, and signals to the bootstrap do not reach it.
            self.process = subprocess.Popen(  # noqa: S603
                [*command, "--report-fd", str(write_end)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[write_end],
                start_new_session=True,
                env={**environment, **QUIET},
            )
        os.close(write_end)
        threading.Thread(target=self._listen, args=(read_end,), name="worker-events", daemon=True).start()

    def next_event(self, timeout_seconds: float) -> Event | None:
        """Return the next report, or None when there is none within the timeout or ever."""
        if self.drained:
            time.sleep(POLL_SECONDS)
            return None
        try:
            event = self.events.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        self.drained = event is None
        return event

    @property
    def ended(self) -> bool:
        """Whether the process is gone and everything it said was heard, or its pipe will never end."""
        return self.process.poll() is not None and (self.drained or self.events.empty())

    def stop(self, grace_seconds: float) -> None:
        """Ask the worker to end, wait for it, then kill its process group with what is left in it."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_seconds)
        self.kill()

    def kill(self) -> None:
        """Kill whatever is left of the worker's process group, its own children included."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_words(self) -> str:
        """Return the last lines of the log, for an error message."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-LAST_LINES:] if line.strip())

    def _listen(self, read_end: int) -> None:
        with os.fdopen(read_end, "r", errors="replace") as stream:
            for line in stream:
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(event, dict):
                    self.events.put(event)
        self.events.put(None)


def worker_command(manifest: Path, work_dir: Path, folder: str, earlier_folders: Iterable[str]) -> list[str]:
    """Return the command of the worker, without `--report-fd`; the folders are those of `Identity`."""
    command = [sys.executable, "-m", "instance.worker", "--manifest", str(manifest), "--work-dir", str(work_dir)]
    return [*command, f"--folder={folder}", *(f"--earlier-folder={earlier}" for earlier in earlier_folders)]
