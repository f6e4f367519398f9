"""Many runs at once, with a budget for a few: `make chaos SOAK=50`. Runs on a person's machine.

As many as the month's budget covers complete, the others are refused before anything is launched; at no moment is more
promised than the budget, and nothing is left. Nobody has capacity until all requests are judged: a run that completes
frees what it did not cost for the next.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chaos.arena import REQUEST, Arena, TooLong, wait
from chaos.inventory import leftovers

COVERED = 8
# All machines share this computer's cores, so each takes long to boot.
PATIENT: dict[str, Any] = {
    **REQUEST, "boot_timeout_seconds": 900, "heartbeat_timeout_seconds": 600, "capacity_wait_minutes": 30,
}  # fmt: skip
NO_CAPACITY = {"*": "InsufficientInstanceCapacity"}
RUN_SECONDS, ACCEPT_SECONDS, SETTLE_SECONDS = 1500.0, 120.0, 120.0
LOOK_SECONDS = 2.0
# As many connections as a client of boto3 keeps.
STARTERS = 10
REFUSED = "MonthlyBudgetExceeded"


def soak(count: int) -> int:
    """Start `count` runs at once; prints what they gave and returns 1 when anything was wrong."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        arena = Arena(Path(tempfile.mkdtemp(dir=folder)))
        try:
            problems = _soak(arena, count)
        finally:
            arena.close()
    print("\n".join(problems) or "The soak passed.")
    return int(bool(problems))


def _soak(arena: Arena, count: int) -> list[str]:
    budget = (COVERED + 0.5) * _estimate(arena)
    _set_budget(arena, budget)
    arena.forget_month()
    began = time.monotonic()
    with ThreadPoolExecutor(STARTERS) as pool:
        arns = list(pool.map(lambda _: arena.start(PATIENT), range(count)))
    highest = _watch(arena, arns, COVERED)
    arena.faults.set_capacity({})
    highest = max(highest, _watch(arena, arns, 0))
    print(f"{count} runs ended in {(time.monotonic() - began) / 60:.0f} minutes; promised at most ${highest:.2f} "
          f"of ${budget:.2f}", flush=True)  # fmt: skip
    return wrong(Counter(_end(arena, arn) for arn in arns), highest, budget, _left(arena, arns))


def wrong(ends: Mapping[str, int], highest: float, budget: float, left: list[str]) -> list[str]:
    """Return what is wrong with how the runs ended, a sentence each; nothing when all is right."""
    right = {"SUCCEEDED": COVERED, REFUSED: sum(ends.values()) - COVERED}
    found = [] if dict(ends) == right else [f"expected {right}, found {dict(ends)}"]
    found += [f"the budget is ${budget:.2f}, and ${highest:.2f} was promised at once"] if highest > budget else []
    return found + ([f"left behind: {', '.join(left)}"] if left else [])


def _estimate(arena: Arena) -> float:
    """Return what one such run may cost, as its month has it; nobody has capacity for it, so it costs nothing."""
    arena.forget_month()
    arena.faults.set_capacity(dict(NO_CAPACITY))
    arn = arena.start(PATIENT)
    promised = float(wait(lambda: _promised(arena), "the estimate", ACCEPT_SECONDS))
    arena.client("stepfunctions").stop_execution(executionArn=arn)
    wait(lambda: arena.recorded(arn) and not arena.faults.pending(), "the verdict", SETTLE_SECONDS)
    return promised


def _promised(arena: Arena) -> float:
    """Return what the month's runs have cost and may cost."""
    month = arena.item(f"month#{datetime.now(UTC):%Y%m}")
    spent = sum(float(value) for name, value in month.items() if name.endswith("_usd") and not isinstance(value, dict))
    return spent + sum(float(usd) for value in month.values() if isinstance(value, dict) for usd in value.values())


def _set_budget(arena: Arena, usd: float) -> None:
    functions = arena.client("lambda")
    for page in functions.get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            variables = function.get("Environment", {}).get("Variables", {})
            if "MONTHLY_BUDGET_USD" in variables:
                changed = {"Variables": {**variables, "MONTHLY_BUDGET_USD": str(usd)}}
                functions.update_function_configuration(FunctionName=function["FunctionName"], Environment=changed)


def _watch(arena: Arena, arns: list[str], left: int) -> float:
    """Wait until so many runs are left under way; returns the most that was promised at once."""
    highest, running = 0.0, set(arns)

    def over() -> bool:
        nonlocal highest
        highest = max(highest, _promised(arena))
        running.difference_update({arn for arn in running if arena.execution(arn)["status"] != "RUNNING"})
        return len(running) <= left

    wait(over, f"all but {left} of {len(arns)} runs to end", RUN_SECONDS, LOOK_SECONDS)
    return highest


def _end(arena: Arena, arn: str) -> str:
    ended = arena.execution(arn)
    return str(ended.get("error") or ended["status"])


def _left(arena: Arena, arns: list[str]) -> list[str]:
    """Return what the runs have left once all events are over."""

    def left() -> list[str]:
        records = {arn: arena.record(arn) for arn in arns}
        return [one for arn, record in records.items() if record for one in leftovers(arena, record.run_id, arn)]

    try:
        wait(lambda: not arena.faults.pending() and not left(), "nothing to be left", SETTLE_SECONDS, LOOK_SECONDS)
    except TooLong:
        return left() or [f"events of {', '.join(arena.faults.pending())}"]
    return []
