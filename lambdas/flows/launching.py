"""Walk the capacity ladder until one rung gives an instance. Runs in Lambda."""

import time
from dataclasses import replace

from contracts import layout
from contracts.prices import vcpus
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.compute import Launched, LaunchFailed
from lambdas.adapters.runs_table import Superseded
from lambdas.adapters.telemetry import logger
from lambdas.core import ladder
from lambdas.core.records import BOOT, Attempt, RunRecord

WALK_SECONDS = 90
SHUTDOWN_SLACK_MINUTES = 10


def begin(cloud: Cloud, record: RunRecord, attempt: int, token: str) -> RunRecord:
    """Store the task token and the intent to launch, before anything can answer. Raises Superseded after the end."""
    fresh = {"instance_id": "", "seq": 0, "state": "", "phase": "", "progress": "", "phase_at": 0, "progress_at": 0}
    again = attempt == record.attempt and record.stage == BOOT
    reset = (
        {}
        if again
        else {**fresh, "booted_at": 0, "heartbeat_at": 0, "interruption_at": 0, "error_code": "", "error_message": ""}
    )
    now = cloud.now()
    started = record.launch_started_at if again and record.launch_started_at else now
    changes = {
        "attempt": attempt,
        "stage": BOOT,
        "task_token": token,
        "status": "launching",
        "launch_started_at": started,
    }
    return cloud.runs.begin_stage(record, {**reset, **changes, "launch_ended_at": 0})


def end_other_attempts(cloud: Cloud, record: RunRecord) -> RunRecord:
    """Terminate what earlier attempts left, so that a run never pays for two instances."""
    for instance_id in cloud.compute.others_of_run(record.run_id, record.attempt):
        logger.info(
            "ended an earlier attempt's instance",
            extra={"instance_id": instance_id, "result": cloud.compute.terminate(instance_id)},
        )
    now = cloud.now()
    ended = tuple(a if a.ended_at or a.attempt == record.attempt else replace(a, ended_at=now) for a in record.attempts)
    return record if ended == record.attempts else cloud.runs.note(record, {"attempts": ended})


def walk(cloud: Cloud, record: RunRecord) -> RunRecord:
    """Launch the attempt's instance and record it; a repeated call keeps the instance that is recorded already.

    Raises
    ------
    CapacityUnavailable, QuotaTooLow, LaunchRefused
        When no rung gave an instance; each rung and EC2's answer is named.
    """
    if any(entry.attempt == record.attempt for entry in record.attempts):
        # Rungs that refused before may have capacity now: walking them again could give a second instance.
        return cloud.runs.record_launch(record, {"launch_ended_at": cloud.now()})
    log: list[tuple[ladder.Rung, str]] = []
    gives_up_at = time.monotonic() + WALK_SECONDS
    for index, rung in enumerate(ladder.rungs(record.request, list(cloud.settings.subnet_ids), record.attempt)):
        try:
            launched = cloud.compute.launch(
                rung, ladder.client_token(record.run_id, record.attempt, index), _tags(cloud, record)
            )
        except LaunchFailed as error:
            logger.warning("a rung refused", extra={"rung": str(rung), "problem": str(error)})
            log.append((rung, error.code))
            if ladder.meaning(error.code) == "refused" or time.monotonic() > gives_up_at:
                break
            continue
        return _record(cloud, record, rung, launched, log)
    cloud.runs.note(record, {"launch_ended_at": cloud.now(), "rungs": record.rungs + _lines(log)})
    raise ladder.verdict(log, min(vcpus(kind) for kind in record.request["instance_types"]))


def _record(
    cloud: Cloud, record: RunRecord, rung: ladder.Rung, launched: Launched, log: list[tuple[ladder.Rung, str]]
) -> RunRecord:
    now = cloud.now()
    entry = Attempt(record.attempt, launched.instance_id, rung.instance_type, rung.market, launched.zone, now)
    known = any(a.instance_id == launched.instance_id for a in record.attempts)
    changes = {
        "instance_id": launched.instance_id,
        "attempts": record.attempts if known else (*record.attempts, entry),
        "rungs": (*record.rungs, *_lines(log), f"{rung}: {launched.instance_id}"),
        "launch_ended_at": now,
    }
    try:
        return cloud.runs.record_launch(record, changes)
    except Superseded:
        logger.warning(
            "the run ended during the launch",
            extra={"instance_id": launched.instance_id, "result": cloud.compute.terminate(launched.instance_id)},
        )
        raise


def _lines(log: list[tuple[ladder.Rung, str]]) -> tuple[str, ...]:
    return tuple(f"{rung}: {code}" for rung, code in log)


def _tags(cloud: Cloud, record: RunRecord) -> dict[str, str]:
    """Return the tags of an attempt; the same for every call of it, since they are part of the idempotent request."""
    longest = round((record.deadline_at - record.created_at) / 60) + SHUTDOWN_SLACK_MINUTES
    return {
        "Name": f"{cloud.settings.project}-{record.run_id}-{record.attempt}",
        layout.TAG_PROJECT: cloud.settings.project,
        layout.TAG_RUN_ID: record.run_id,
        layout.TAG_ATTEMPT: str(record.attempt),
        layout.TAG_RUN_PREFIX: record.prefix,
        layout.TAG_MAX_MINUTES: str(longest),
    }
