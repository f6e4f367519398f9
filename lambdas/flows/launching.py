"""Walk the capacity ladder until one rung gives an instance. Runs in Lambda."""

import math
import time
from dataclasses import replace

from contracts import layout
from contracts.prices import vcpus
from lambdas.adapters.clients import AwsUnavailable
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.compute import Launched, LaunchFailed
from lambdas.adapters.runs_table import Superseded
from lambdas.adapters.telemetry import logger
from lambdas.core import ladder, waiting
from lambdas.core.inventory import in_flight_until
from lambdas.core.records import BOOT, FRESH_ATTEMPT, WAITING, Attempt, RunRecord, earlier_instances

# Together with the last launch and the question for its price they stay within the function's time (infra/workflow.py).
ENDING_SECONDS = 60
WALK_SECONDS = 90
POLL_SECONDS = 3.0
SHUTDOWN_SLACK_MINUTES = 10


def begin(cloud: Cloud, record: RunRecord, attempt: int, token: str, fence: int) -> RunRecord:
    """Store the task token and the intent to launch, before anything can answer.

    Raises
    ------
    Superseded
        After the end of the run, or when a newer call has begun the same state or a later one.
    """
    now = cloud.now()
    again = attempt == record.attempt and record.stage == BOOT
    reset = (
        {}
        if again
        else {
            **FRESH_ATTEMPT,
            "rung": 0,
            "rung_at": 0,
            "capacity_since": now,
            "in_flight_until": in_flight_until(record),
            "earlier_reports": record.earlier_reports + record.seq,
            "earlier_instances": earlier_instances(record),
        }
    )
    changes = {
        "attempt": attempt,
        "stage": BOOT,
        "task_token": token,
        "fence": fence or record.fence,
        "status": "launching",
        "launch_started_at": record.launch_started_at if again and record.launch_started_at else now,
        "launch_ended_at": 0,
    }
    return cloud.runs.begin_stage(record, {**reset, **changes})


def end_others(cloud: Cloud, record: RunRecord) -> RunRecord:
    """Terminate every living instance of the run but the current attempt's, and put on record those that were not.

    Earlier attempts may have left one, and a launch whose answer was lost may have given a second one to this attempt.
    One of a later attempt is none of the others: this call has been overtaken, perhaps since it looked at the record.
    """
    alive = [a for a in cloud.compute.alive(record.run_id) if a.attempt <= record.attempt]
    kept = [a for a in alive if a.attempt == record.attempt and record.instance_id in ("", a.instance_id)]
    paid = {record.instance_id, *(a.instance_id for a in kept)}
    for entry in alive:
        if entry not in kept:
            result = cloud.compute.terminate(entry.instance_id)
            logger.warning("ended another instance", extra={"instance_id": entry.instance_id, "result": result})
            paid |= {entry.instance_id} if result.startswith("refused") else set()
    # Without the id of its own instance on record, the walk finds it by its token and records it.
    known = {entry.instance_id for entry in record.attempts}
    found = [a for a in alive if a.instance_id not in known and (a not in kept or record.instance_id)]
    listed, now = (*record.attempts, *found), cloud.now()
    ended = tuple(a if a.ended_at or a.instance_id in paid else replace(a, ended_at=now) for a in listed)
    return record if ended == record.attempts else cloud.runs.note_launch(record, {"attempts": ended})


def await_end_of_others(cloud: Cloud, record: RunRecord) -> None:
    """Wait, not for ever, until no instance of another attempt is left: while it ends, the quota still counts it."""
    patient_until = time.monotonic() + ENDING_SECONDS
    while any(a.attempt < record.attempt for a in cloud.compute.alive(record.run_id)):
        if time.monotonic() > patient_until:
            logger.warning("an earlier attempt's instance has not ended yet, going on")
            return
        time.sleep(POLL_SECONDS)


def walk(cloud: Cloud, record: RunRecord) -> RunRecord:
    """Launch the attempt's instance and record it; a repeated call goes on at the rung that was asked last.

    Raises
    ------
    NoCapacityYet
        When no rung gave an instance and the request lets the run ask the ladder again later.
    CapacityUnavailable, QuotaTooLow, LaunchRefused, PermissionMissing
        When no rung gave an instance; each rung and EC2's answer is named.
    AwsUnavailable
        When EC2 gave no clear answer in time; the next call asks the same rung with the same token.
    """
    if record.instance_id and any(entry.instance_id == record.instance_id for entry in record.attempts):
        return cloud.runs.note_attempt(record, {"launch_ended_at": cloud.now()})
    log: list[ladder.Answer] = []
    gives_up_at = time.monotonic() + WALK_SECONDS
    rungs = ladder.rungs(record.request, list(cloud.settings.subnet_ids), record.attempt)
    for index in ladder.round_from(record.rung, len(rungs)):
        rung, asked_at, began = rungs[index % len(rungs)], cloud.now(), time.monotonic()
        if rung.too_dear:
            log.append(ladder.Answer(rung, ladder.TOO_DEAR, asked_at))
            continue
        try:
            launched = _ask(cloud, record, index, rung, gives_up_at)
        except LaunchFailed as error:
            logger.warning("a rung refused", extra={"rung": str(rung), "problem": str(error)})
            log.append(ladder.Answer(rung, error.code, asked_at, time.monotonic() - began, error.message))
            if ladder.meaning(error.code) == "refused" or time.monotonic() > gives_up_at:
                break
            continue
        log.append(ladder.Answer(rung, launched.instance_id, asked_at, time.monotonic() - began))
        return _record(cloud, record, launched, log)
    raise _no_instance(cloud, record, log, index + 1, len(rungs))


def _no_instance(cloud: Cloud, record: RunRecord, log: list[ladder.Answer], following: int, count: int) -> Exception:
    """Put a walk without an instance on record; returns whether to wait, or the verdict. Raises Superseded."""
    now = cloud.now()
    ended = {"launch_ended_at": now, "rungs": waiting.logged(record.rungs, log)}
    again_at = waiting.again_at(record, log, now)
    if again_at:
        # The next round has rungs, and so tokens, of its own, and a boot time that does not count the wait.
        cloud.runs.claim_rung(record, {**ended, "rung": following, "launch_started_at": again_at, "status": WAITING})
        return waiting.NoCapacityYet(waiting.notice(record, log, again_at))
    cloud.runs.note_launch(record, ended)
    smallest = min(vcpus(kind) for kind in record.request["instance_types"])
    return ladder.verdict(log, smallest, waiting.waited(record, math.ceil(following / count), now))


def _ask(cloud: Cloud, record: RunRecord, index: int, rung: ladder.Rung, gives_up_at: float) -> Launched:
    """Ask EC2 for a rung until the answer is clear; raises LaunchFailed, AwsUnavailable, Superseded.

    The rung is on record before EC2 is asked. Whoever comes after a lost answer asks the same rung with the same token
    and gets the same instance; another rung could have capacity meanwhile and give a second one.
    """
    token = ladder.client_token(record.run_id, record.attempt, index)
    while True:
        cloud.runs.claim_rung(record, {"rung": index, "rung_at": cloud.now()})
        try:
            return cloud.compute.launch(rung, token, _tags(cloud, record))
        except LaunchFailed as error:
            if ladder.meaning(error.code) != "unclear":
                raise
            if time.monotonic() > gives_up_at:
                raise AwsUnavailable(f"{rung}: expected an instance or a refusal, found {error}") from error
            logger.warning("no clear answer, asking again", extra={"rung": str(rung), "problem": str(error)})
        time.sleep(POLL_SECONDS)


def _record(cloud: Cloud, record: RunRecord, launched: Launched, log: list[ladder.Answer]) -> RunRecord:
    """Put a launched instance on record, its price in the same write: who repeats the call finds both or neither."""
    now = cloud.now()
    known = any(a.instance_id == launched.instance_id for a in record.attempts)
    changes = {
        "instance_id": launched.instance_id,
        "attempts": record.attempts if known else (*record.attempts, _entry(cloud, record, launched, log[-1].rung)),
        "rungs": waiting.logged(record.rungs, log),
        "launch_ended_at": now,
    }
    try:
        return cloud.runs.note_attempt(record, changes)
    except Superseded:
        logger.warning(
            "the run, or the attempt, ended during the launch",
            extra={"instance_id": launched.instance_id, "result": cloud.compute.terminate(launched.instance_id)},
        )
        raise


def _entry(cloud: Cloud, record: RunRecord, launched: Launched, rung: ladder.Rung) -> Attempt:
    kind, zone, now = rung.instance_type, launched.zone, cloud.now()
    quoted = cloud.compute.spot_usd_per_hour(kind, zone, now) if rung.market == "spot" else None
    return Attempt(record.attempt, launched.instance_id, kind, rung.market, zone, now, spot_usd_per_hour=quoted)


def _tags(cloud: Cloud, record: RunRecord) -> dict[str, str]:
    """Return the tags of an attempt; the same for every call of it, since they are part of the idempotent request."""
    left_minutes = math.ceil(max(0, record.deadline_at - record.launch_started_at) / 60)
    return {
        "Name": f"{cloud.settings.project}-{record.run_id}-{record.attempt}",
        layout.TAG_PROJECT: cloud.settings.project,
        layout.TAG_RUN_ID: record.run_id,
        layout.TAG_EXECUTION: record.execution_arn,
        layout.TAG_ATTEMPT: str(record.attempt),
        layout.TAG_RUN_PREFIX: record.prefix,
        layout.TAG_MAX_MINUTES: str(left_minutes + SHUTDOWN_SLACK_MINUTES),
        layout.TAG_EARLIER_INSTANCES: record.earlier_instances,
    }
