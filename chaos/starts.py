"""How the run of a case begins: by a command or an upload, and what happens to it in training. Runs in a worker."""

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from chaos.arena import LONG, SPOT, Arena, TooLong, wait
from chaos.begun import Begun
from chaos.machine_scenarios import at_phase
from contracts import layout
from lambdas.core.records import RunRecord
from local.deployment import DeploymentFailed

RUN_SECONDS = 400.0
# An event that fails is tried twice more, and then noted by another function.
NOTED_SECONDS = 60.0
SHARED = f"{layout.REQUESTS}chaos-"
NOTE = ".rejected"
# What waits for nobody but the net that is to find it.
HUNG: dict[str, Any] = {**LONG, "heartbeat_timeout_seconds": 3600, "max_attempts": 1, "max_runtime_minutes": 10}


def begin(arena: Arena, fault: dict[str, Any], fired: Callable[[], bool]) -> Begun:
    """Begin the run of a case whose fault is in place, in the way that its `start` says."""
    return _STARTS[fault.get("start", "")](arena, fault, fired)


def in_training(arena: Arena, request: dict[str, Any]) -> tuple[str, RunRecord]:
    """Start a run and wait until its machine trains."""
    arn = arena.start(request)
    return arn, wait(lambda: at_phase(arena, arn, "training", 1), "training", RUN_SECONDS)


def disarm(arena: Arena, run_id: str) -> None:
    """Delete the dead-man schedules of a run."""
    scheduler = arena.client("scheduler")
    for listed in scheduler.list_schedules()["Schedules"]:
        if listed["Name"].startswith(run_id):
            scheduler.delete_schedule(Name=listed["Name"], GroupName=listed["GroupName"])


def keep_rules(arena: Arena, *kept: str) -> None:
    """Disable every event rule of the stack but those with one of these texts in their names."""
    for name in arena.rules():
        if not any(part in name for part in kept):
            arena.client("events").disable_rule(Name=name)


def _by_command(arena: Arena, fault: dict[str, Any], fired: Callable[[], bool]) -> Begun:
    return Begun(arena.start(LONG if fault.get("long") else SPOT), fired)


def _abort(arena: Arena, fault: dict[str, Any], fired: Callable[[], bool]) -> Begun:
    arn, record = in_training(arena, LONG)
    if fault.get("alone"):
        keep_rules(arena, "ExecutionEnded")
        disarm(arena, record.run_id)
    arena.client("stepfunctions").stop_execution(executionArn=arn)
    return Begun(arn, fired)


def _dead_man(arena: Arena, _: dict[str, Any], fired: Callable[[], bool]) -> Begun:
    arn, record = in_training(arena, HUNG)
    arena.faults.hang(record.instance_id)
    keep_rules(arena)
    arena.bring_forward(record.run_id)
    finish(arena, arn, record.run_id, NOTED_SECONDS)
    return Begun(arn, fired)


def finish(arena: Arena, arn: str, run_id: str, seconds: float) -> None:
    """Bring every schedule of a run forward until its execution has ended."""

    def ended() -> bool:
        if arena.execution(arn)["status"] != "RUNNING":
            return True
        if not arena.faults.pending():
            arena.bring_forward(run_id, arn)
        return False

    # What is still open then is found out by who waits for the run's end.
    with contextlib.suppress(TooLong):
        wait(ended, "the execution to end", seconds, step=3.0)


def _kill(arena: Arena, _: dict[str, Any], fired: Callable[[], bool]) -> Begun:
    arn, record = in_training(arena, LONG)
    arena.faults.kill(record.instance_id)
    return Begun(arn, fired)


def _destroy(arena: Arena, fault: dict[str, Any], fired: Callable[[], bool]) -> Begun:
    arn, _ = in_training(arena, LONG)
    met: list[bool] = []

    def look() -> bool:
        return any(met) or fired()

    try:
        arena.destroy()
    except DeploymentFailed:
        if not fault.get("lasts"):
            raise
        met.append(fired())
        arena.calm()
        arena.destroy()
    return Begun(arn, look)


def _upload(arena: Arena, fault: dict[str, Any], fired: Callable[[], bool]) -> Begun:
    before, key = executions(arena), f"{SHARED}{time.time_ns()}.json"
    request = json.dumps(LONG if fault.get("long") else SPOT).encode()
    arena.client("s3").put_object(Bucket=arena.bucket, Key=key, Body=request)

    def found() -> set[str] | str:
        return (executions(arena) - before) or next((n for n in arena.objects(key) if NOTE in n), "")

    started = wait(found, "a run or a note for the upload", NOTED_SECONDS)
    arn = "" if isinstance(started, str) else started.pop()

    def problem() -> str:
        count = len(executions(arena) - before)
        return f"one upload: expected at most one run, found {count}" if count > 1 else ""

    return Begun(arn, fired, problem)


def executions(arena: Arena) -> set[str]:
    """Return the ARNs of all executions."""
    pages = arena.client("stepfunctions").get_paginator("list_executions")
    machine = arena.environment["STATE_MACHINE_ARN"]
    return {e["executionArn"] for page in pages.paginate(stateMachineArn=machine) for e in page["executions"]}


_STARTS: dict[str, Callable[[Arena, dict[str, Any], Callable[[], bool]], Begun]] = {
    "": _by_command,
    "abort": _abort,
    "dead man": _dead_man,
    "destroy": _destroy,
    "kill": _kill,
    "upload": _upload,
}
