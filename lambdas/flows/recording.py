"""Write the verdict of a run once: record, cost, registry, metrics. Runs in Lambda."""

from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from contracts import layout
from contracts.reasons import RunEnded
from lambdas.adapters import executions
from lambdas.adapters.clients import error_code, problem_of
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.runs_table import Superseded
from lambdas.adapters.telemetry import emit, logger
from lambdas.core.costs import actual_cost, breakdown
from lambdas.core.evidence import located
from lambdas.core.measured import recorded_metrics
from lambdas.core.path import assumed, taken
from lambdas.core.records import RunRecord
from lambdas.core.verdict import COMPLETED
from lambdas.flows import registry
from lambdas.flows.evidence import address

HARDLY_USD = 0.0001


def record_verdict(cloud: Cloud, record: RunRecord, status: str, reason_code: str = "", cause: str = "") -> RunRecord:
    """Write status, reason and cost of a run that has ended; the first verdict stands. Then publish metrics, registry.

    The verdict comes first and needs nothing but the record: metrics that cannot be read, or are too large, cost a run
    no verdict.
    """
    now = cloud.now()
    where = "" if status == COMPLETED else address(cloud, record, record.execution_arn)
    changes: dict[str, Any] = {
        "status": status,
        "reason_code": reason_code,
        "cause": located(cause, where) if where else cause,
        "evidence": where,
        "ended_at": now,
        **costed(record, now),
    }
    try:
        record = cloud.runs.finish(record, changes)
        written = True
    except Superseded:
        record = cloud.runs.load(record.run_id) or record
        # A write whose answer was lost is repeated, and then stands in its own way.
        written = (record.ended_at, record.status, record.reason_code) == (now, status, reason_code)
    if written:
        _count(record)
    publish(cloud, record)
    return record


def costed(record: RunRecord, now: int) -> dict[str, Any]:
    """Return the fields of the record that say what the run has cost."""
    events = executions.history(record.execution_arn)
    path = taken(events) if events else assumed(record)
    cost = actual_cost(record, path, now)
    return {"cost_usd": cost.total_usd, "cost": breakdown(record, path, cost)}


def recost(cloud: Cloud, record: RunRecord) -> RunRecord:
    """Correct the cost of a run that had a verdict before its last instance, or its last state, was gone."""
    fresh = costed(record, cloud.now())
    differs = abs(fresh["cost_usd"] - record.cost_usd) >= HARDLY_USD
    known = fresh["cost"]["transitions_from"] == "history"
    if not differs and not (known and fresh["cost"]["transitions"] != record.cost.get("transitions")):
        return record
    try:
        return cloud.runs.recost(record, fresh)
    except Superseded:
        return cloud.runs.load(record.run_id) or record


def close(cloud: Cloud, record: RunRecord, code: str) -> RunRecord:
    """End the run for everybody: from now on nothing launches for it and nothing settles it. May be repeated.

    The reason code of the end is kept with that: a redrive, which ends as RunEnded, may come before the verdict.
    """
    try:
        return cloud.runs.close(record, {"closed_at": cloud.now(), "closed_as": code, "task_token": ""})
    except Superseded:
        return cloud.runs.load(record.run_id) or record


def refuse_ended(cloud: Cloud, record: RunRecord) -> None:
    """Raise RunEnded when the run has been closed: a redriven state must end at once, not wait for nobody."""
    newest = cloud.runs.load(record.run_id) or record
    if newest.closed_at:
        raise RunEnded(newest.ended_as)


def ended_attempts(record: RunRecord, now: int) -> dict[str, Any]:
    """Return the change that ends every attempt's billing at `now`, to be written when nothing is left of a run."""
    return {"attempts": tuple(a if a.ended_at else replace(a, ended_at=now) for a in record.attempts)}


def end_billing(cloud: Cloud, record: RunRecord) -> RunRecord:
    """End every attempt's billing when nothing is left of a run, and bill instances that nobody has put on record."""
    record = cloud.runs.load(record.run_id) or record
    known = {entry.instance_id for entry in record.attempts}
    unknown = tuple(a for a in cloud.compute.launched(record.run_id) if a.instance_id not in known)
    complete = record.with_changes({"attempts": record.attempts + unknown})
    return cloud.runs.note(record, ended_attempts(complete, cloud.now()))


def publish(cloud: Cloud, record: RunRecord) -> None:
    """Put the metrics of a completed run on record and write control_registry.json. May be repeated."""
    registry.write(cloud, _measured(cloud, record))


def _measured(cloud: Cloud, record: RunRecord) -> RunRecord:
    """Put the metrics of a completed run on record, once; the verdict stands there whatever becomes of them."""
    if record.status != COMPLETED or record.metrics:
        return record
    metadata = cloud.objects.document("model_metadata", record.prefix + layout.MODEL_METADATA)
    metrics = recorded_metrics(metadata, record.request["models"]) if metadata else {}
    if not metrics:
        logger.warning("the run is on record without metrics: they cannot be read")
        return record
    try:
        return cloud.runs.note(record, {"metrics": metrics})
    except ClientError as error:
        if error_code(error) != "ValidationException":
            raise
        # DynamoDB takes 400 KB of a record, whatever a record of another release holds.
        logger.warning("the run is on record without metrics: they do not fit", extra={"problem": problem_of(error)})
        return record


def _count(record: RunRecord) -> None:
    completed = record.status == COMPLETED
    emit(
        RunsCompleted=int(completed),
        RunsFailed=int(not completed),
        RunSeconds=record.ended_at - record.created_at,
        RunCostUsd=record.cost_usd,
    )
