"""A worker process of the matrix: one arena, one case at a time."""

import tempfile
import time
from pathlib import Path
from typing import Any

from chaos.arena import SPOT, Arena, wait
from chaos.cases import Case, Known
from chaos.scenarios import RUN_SECONDS, play
from chaos.verdicts import Outcome, row
from local.call_log import read

# Nobody calls AWS any more when nobody has for so long.
QUIET_SECONDS = 5.0
_arena: list[Arena] = []


def clean_calls() -> set[Known]:
    """Run once with nothing wrong; returns each caller, service and operation."""
    arena = _arena[0]
    arena.forget_month()
    arn = arena.start(SPOT)
    wait(lambda: arena.execution(arn)["status"] != "RUNNING", "the clean run to end", RUN_SECONDS)
    ended = arena.execution(arn)
    if ended["status"] != "SUCCEEDED":
        raise RuntimeError(f"the clean run: expected SUCCEEDED, found {ended.get('error')}: {ended.get('cause')}")
    # The status-change rule looks once more after the end, and the machine goes.
    calls = arena.cloud.folder.calls
    wait(lambda: any(call.caller == "lambda:SweepRun" for call in read(calls)), "the sweep", RUN_SECONDS)
    wait(lambda: time.time() - calls.stat().st_mtime > QUIET_SECONDS, "the last call", RUN_SECONDS)
    return {(call.caller, call.service, call.operation) for call in read(calls)}


def run(case: Case) -> dict[str, Any]:
    """Run one case in this process's arena."""
    begun = time.monotonic()
    try:
        outcome = play(_arena[0], case)
    except Exception as error:  # whatever it is, the other cases go on
        outcome = Outcome(problem=f"the case could not be played: {type(error).__name__}: {error}"[:300])
    return row(case, outcome, time.monotonic() - begun)


def opened(folder: str) -> None:
    """Start this process's arena in a folder of its own below `folder`."""
    _arena.append(Arena(Path(tempfile.mkdtemp(dir=folder))))


def close() -> None:
    """End this process's arena."""
    # Each worker takes one of these; the wait keeps a quick one from taking two.
    while _arena:
        _arena.pop().close()
    time.sleep(2)
