"""A worker process of the matrix: one arena, one case at a time."""

import tempfile
import time
from pathlib import Path
from typing import Any

from chaos.arena import Arena, wait
from chaos.cases import Case
from chaos.function_cases import EVENTS
from chaos.matrix import Recorded
from chaos.scenarios import play
from chaos.starts import RUN_SECONDS, begin
from chaos.verdicts import Outcome, row
from local.call_log import read

# Nobody calls AWS any more when nobody has for so long.
QUIET_SECONDS = 5.0
# How clean runs begin, and whose calls are taken from each; the functions of the plain one are all that it calls.
RECORDINGS: dict[str, tuple[str, ...]] = {
    "": (),
    **{start: tuple(name for name, one in EVENTS.items() if one == start) for start in EVENTS.values() if start},
}
_arena: list[Arena] = []


def record(start: str) -> Recorded:
    """Run once with nothing wrong; returns each caller, service and operation, and the calls of each invocation.

    The run begins in the way of `RECORDINGS` that is named. Of a run that is stopped, and of one that ends with its
    stack, only the functions count that no other run calls.
    """
    arena = _arena[0]
    arena.calm()
    arena.forget_month()
    before = sum(1 for _ in read(arena.cloud.folder.calls))
    arena.faults.set_functions({"*": {"log": True}})
    begun = begin(arena, {"start": start}, lambda: True)
    wait(lambda: arena.execution(begun.arn)["status"] != "RUNNING", "the clean run to end", RUN_SECONDS)
    ended = arena.execution(begun.arn)
    if ended["status"] != ("ABORTED" if start in ("abort", "destroy") else "SUCCEEDED"):
        raise RuntimeError(f"the clean run: found {ended['status']} {ended.get('error')}: {ended.get('cause')}")
    calls = arena.cloud.folder.calls
    if start != "destroy":
        # The status-change rule looks once more after the end, and the machine goes.
        wait(lambda: arena.calls_of("SweepRun"), "the sweep", RUN_SECONDS)
    wait(lambda: time.time() - calls.stat().st_mtime > QUIET_SECONDS, "the last call", RUN_SECONDS, QUIET_SECONDS + 1)
    made = list(read(calls))[before:]
    found = Recorded(
        {(call.caller, call.service, call.operation) for call in made},
        {name: max(all_of_it, key=len) for name, all_of_it in arena.faults.invocations().items()},
    )
    arena.calm()
    if start == "destroy":
        arena.deploy()
    return _only(found, RECORDINGS[start])


def _only(found: Recorded, functions: tuple[str, ...]) -> Recorded:
    if not functions:
        return found
    callers = {f"lambda:{name}" for name in functions} - {"lambda:SweepRun"}
    return Recorded(
        {call for call in found.calls if call[0] in callers},
        {name: calls for name, calls in found.invocations.items() if name in functions},
    )


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
