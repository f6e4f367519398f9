"""Turn a request into a registered run; what can be refused is refused before money is spent. Runs in Lambda."""

import random
import time

from contracts import layout
from contracts.documents import Document, dump
from contracts.reasons import RunEnded
from lambdas.adapters.clients import AwsUnavailable
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.quotas import vcpu_quotas
from lambdas.adapters.runs_table import MonthMoved
from lambdas.core import acceptance
from lambdas.core.budget import month_of
from lambdas.core.ladder import markets
from lambdas.core.records import RunRecord
from lambdas.flows.staged import dataset_folder, weights_folder

# For the reservation in a month that many runs want at once, each after the other.
RESERVING_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 1.0
SOONEST_SECONDS = 60
# AcceptRun with all of its tries, statemachine/training.asl.json, takes less.
YOUNG_SECONDS = 1200


def accept(cloud: Cloud, document: object, execution_arn: str, created_at: int) -> RunRecord:
    """Return the record of the execution's run, registered once however often this is called.

    Raises
    ------
    RunError
        Before anything is registered; its class is the reason code.
    RunEnded
        When a redrive comes here: the run has been closed, or was never registered while its execution was young.
    """
    record = _registered(cloud, execution_arn, created_at)
    _refuse_redriven(cloud, record, created_at)
    request = record.request if record else acceptance.checked_request(document)
    dataset = dataset_folder(cloud.objects, request)
    weights = weights_folder(cloud.objects, request)
    if record is None:
        acceptance.check_cost(request, acceptance.estimate(request))
        acceptance.check_quota(request, vcpu_quotas(markets(request["market"], 1)))
        record = _register(cloud, {**request, "dataset": dataset["name"]}, execution_arn, created_at)
    _prepare(cloud, record, dataset, weights)
    return record


def _registered(cloud: Cloud, execution_arn: str, created_at: int) -> RunRecord | None:
    """Return the record that this execution registered, if it did.

    Step Functions frees a name 90 days after its execution ended, and then an ARN means another execution, with another
    start. A redriven one keeps its start: https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html
    """
    record = cloud.runs.of_execution(execution_arn)
    return record if record and record.created_at == created_at else None


def _refuse_redriven(cloud: Cloud, record: RunRecord | None, created_at: int) -> None:
    if record and record.closed_at:
        raise RunEnded(record.ended_as)
    if record is None and cloud.now() - created_at > YOUNG_SECONDS:
        # Its id, its deadline and its month would be of the past.
        raise RunEnded(f"The execution began at {acceptance.iso(created_at)} and registered no run then.")


def _prepare(cloud: Cloud, record: RunRecord, dataset: Document, weights: Document | None) -> None:
    """Write the manifest once and arm the dead-man switch; raises RunEnded when the run has ended meanwhile."""
    manifest = acceptance.manifest(
        record.run_id, cloud.objects.bucket, record.request, record.created_at, dataset, weights
    )
    # A call that comes late must not change what a machine may be reading.
    cloud.objects.replace(record.prefix + layout.MANIFEST, dump("manifest", manifest), etag="")
    grace = acceptance.longest_wait_seconds(record.request) + cloud.settings.dead_man_margin_seconds
    _refuse_ended(cloud, record)
    # What a one-time schedule does whose moment has passed is not documented, so none is ever made.
    cloud.schedules.arm(record.run_id, max(record.deadline_at + grace, cloud.now() + SOONEST_SECONDS))
    try:
        _refuse_ended(cloud, record)
    except RunEnded:
        # Not deleted: it may be the one that a sweep has armed for what is left. The sweep it calls looks, and disarms.
        cloud.schedules.arm(record.run_id, cloud.now() + SOONEST_SECONDS)
        raise


def _refuse_ended(cloud: Cloud, record: RunRecord) -> None:
    newest = cloud.runs.load(record.run_id)
    if newest and newest.ended_at:
        raise RunEnded(newest.ended_as)


def _register(cloud: Cloud, request: Document, execution_arn: str, created_at: int) -> RunRecord:
    """Register a run under the first free run id of its second."""
    for run_id in layout.run_ids_at(acceptance.utc(created_at), execution_arn):
        replaced = cloud.runs.run_id_of(execution_arn)
        record = RunRecord(
            run_id=run_id,
            execution_arn=execution_arn,
            prefix=layout.run_prefix(run_id),
            request=request,
            created_at=created_at,
            deadline_at=acceptance.deadline_at(request, created_at),
            estimate_usd=acceptance.estimate(request).total_usd,
        )
        if _admit(cloud, record, replaced):
            return record
        # Taken by another run of the same second, or by an earlier try of this very call whose answer was lost.
        mine = _registered(cloud, execution_arn, created_at)
        if mine:
            return mine
    raise AssertionError("there is always another run id")


def _admit(cloud: Cloud, record: RunRecord, replaced: str) -> bool:
    """Register a run if its month's budget covers it; returns False when its run id is taken.

    The month is written on condition that it is as it was read. So of two runs that are accepted at once and that the
    budget covers only one by one, the second finds the month moved, reads again and is refused. Where many are accepted
    at once, each waits for a moment of its own.
    """
    gives_up_at, pause = time.monotonic() + RESERVING_SECONDS, 0.05
    while True:
        month = cloud.runs.month(month_of(record.run_id))
        if record.run_id in month.reserved_usd:
            return False
        acceptance.check_budget(record.estimate_usd, month.committed_usd, cloud.settings.monthly_budget_usd)
        try:
            return cloud.runs.register(record, month, replaced)
        except MonthMoved as moved:
            if time.monotonic() > gives_up_at:
                raise AwsUnavailable(
                    f"month {month.month}: expected to reserve a cost within {RESERVING_SECONDS:g} s, "
                    "found other runs of the month being reserved all the time."
                ) from moved
        time.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
