"""How a machine is broken in the phase it is in, on an arena. Runs in a worker."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from chaos.arena import LONG, REQUEST, STEP_SECONDS, Arena, TooLong, wait
from chaos.begun import Begun
from chaos.cases import Case
from chaos.machine_cases import PHASES
from lambdas.core.records import RunRecord
from local.faults import FaultRefused

RUN_SECONDS = 400.0
ACT_SECONDS = 20.0
# A phase of this small run is over in a moment. What it asks S3 for is answered late, so that it can be met.
ASKS = {"data_sync": "GetObject", "results_sync": "HeadObject"}
ANSWER_MS = 3_000
QUICK: dict[str, Any] = {**REQUEST, "heartbeat_timeout_seconds": 20, "boot_timeout_seconds": 30}
NOTICE_SECONDS = 6.0
LOOK_SECONDS = 0.1
# Phases that need not be looked for all the time, which would take the machines' own time.
LASTS = ("boot", "training")
HOUR_SECONDS = 3600
# What a request needs for a fault to be possible, or to be found out soon.
NEEDS: dict[str, dict[str, Any]] = {"interrupted": {"market": "spot"}, "stalled": {"no_progress_timeout_seconds": 30}}
Act = Callable[[Arena, RunRecord], object]


def break_machine(arena: Arena, case: Case) -> Begun:
    """Begin a case of kind `machine`."""
    fault = case.fault
    if fault["do"] == "corrupt":
        return _corrupt(arena)
    if fault["do"] == "alive beside the next attempt":
        return _beside(arena)
    return met(arena, fault["do"], fault["phase"], 2 if fault["every"] else 1, fault["seconds"])


def met(
    arena: Arena, what: str, phase: str, attempts: int = 1, seconds: float = 0, more: dict[str, Any] | None = None
) -> Begun:
    """Start a run (with `more` in its request) and break the machine of its first `attempts` attempts in a phase."""
    arena.faults.set_machines({"own_disk": what == "disk full", "own_clock": what.startswith("clock")})
    if phase in ASKS:
        arena.machine.set({"service": "s3", "operation": ASKS[phase], "latency": ANSWER_MS})
    arn = arena.start({**(LONG if phase == "training" else QUICK), **NEEDS.get(what, {}), **(more or {})})
    for attempt in range(1, attempts + 1):
        there, step = partial(at_phase, arena, arn, phase, attempt), STEP_SECONDS if phase in LASTS else LOOK_SECONDS
        record = wait(there, f"{phase}, attempt {attempt}", RUN_SECONDS, step)
        act = partial(_cut_off, seconds=seconds) if what.startswith("cut off") else ACTS[what]
        wait(partial(_done, act, arena, record), what, ACT_SECONDS, LOOK_SECONDS)
    arena.machine.set()
    return Begun(arn, lambda: True)


def at_phase(arena: Arena, arn: str, phase: str, attempt: int) -> RunRecord | None:
    """Return the record once the attempt's machine says that it is in the phase; TooLong when that is over."""
    if (ended := arena.execution(arn))["status"] != "RUNNING":
        raise TooLong(f"expected to meet the machine in {phase}, found the run {ended['status']} {ended.get('error')}")
    record = arena.record(arn)
    if record is None or not record.instance_id or len(record.attempts) < attempt:
        return None
    if phase == "boot":
        return record
    report = arena.report(record)
    if report.get("instance_id") != record.instance_id:
        return None
    said = report["phase"]
    if said == "done" or PHASES.index(said) > PHASES.index(phase):
        raise TooLong(f"expected to meet the machine in {phase}, found it in {said}")
    step = (report.get("progress") or {}).get("step", 0)
    return record if said == phase and (phase != "training" or step >= 1) else None


def _done(act: Act, arena: Arena, record: RunRecord) -> bool:
    try:
        act(arena, record)
    except FaultRefused:
        # The worker or the machine's processes are not there yet.
        return False
    return True


def _cut_off(arena: Arena, _: RunRecord, seconds: float) -> None:
    arena.machine.set({"service": "*", "reset": True})
    time.sleep(seconds)
    arena.machine.set()


def _corrupt(arena: Arena) -> Begun:
    text = "unique_id,ds,y\n" + "".join(f"a,2020-01-{day:02d},1\n" for day in range(1, 29)) + "a,not a day,2\n"
    key = "datasets/corrupt/data.csv"
    arena.client("s3").put_object(Bucket=arena.bucket, Key=key, Body=(text + "b,2020-01-01,x\n").encode())
    return Begun(arena.start({**REQUEST, "dataset": "corrupt"}), lambda: True)


def _beside(arena: Arena) -> Begun:
    """Let a machine that was given up wake while the next attempt's works, since EC2 refused to end it."""
    refused = {"error": {"code": "UnauthorizedOperation", "status": 403}}
    arena.aws.set({"service": "ec2", "operation": "TerminateInstances", **refused})
    # The next launch waits a minute for the machine that should have ended; the time to boot has to hold that, too.
    arn = arena.start({**LONG, "boot_timeout_seconds": 180})
    first = wait(partial(at_phase, arena, arn, "training", 1), "training", RUN_SECONDS)
    arena.faults.hang(first.instance_id)
    second = wait(partial(at_phase, arena, arn, "boot", 2), "the next attempt", RUN_SECONDS)
    arena.faults.resume(first.instance_id)
    time.sleep(NOTICE_SECONDS)
    both = arena.alive(second.run_id)
    arena.aws.set()
    return Begun(arn, lambda: {first.instance_id, second.instance_id} <= both)


ACTS: dict[str, Act] = {
    "killed": lambda arena, record: arena.faults.kill(record.instance_id),
    "stopped": lambda arena, record: arena.client("ec2").stop_instances(InstanceIds=[record.instance_id]),
    "hung": lambda arena, record: arena.faults.hang(record.instance_id),
    "stalled": lambda arena, record: arena.faults.stall(record.instance_id),
    "interrupted": lambda arena, record: arena.faults.interrupt(record.instance_id, NOTICE_SECONDS),
    "clock ahead": lambda arena, record: arena.faults.set_clock(record.instance_id, HOUR_SECONDS),
    "clock behind": lambda arena, record: arena.faults.set_clock(record.instance_id, -HOUR_SECONDS),
    "disk full": lambda arena, record: arena.faults.fill_disk(record.instance_id),
    "out of memory": lambda arena, record: arena.faults.exhaust_memory(record.instance_id),
}
