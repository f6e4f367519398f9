"""Turn a request into a registered run; what can be refused is refused before money is spent. Runs in Lambda."""

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

MAX_CLASHES = 99
MONTH_READS = 50
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
    record = cloud.runs.of_execution(execution_arn)
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


def _refuse_redriven(cloud: Cloud, record: RunRecord | None, created_at: int) -> None:
    if record and record.closed_at:
        raise RunEnded(record.ended_as)
    if record is None and cloud.now() - created_at > YOUNG_SECONDS:
        # Its id, its deadline and its month would be of the past.
        raise RunEnded(f"The execution began at {acceptance.iso(created_at)} and registered no run then.")


def _prepare(cloud: Cloud, record: RunRecord, dataset: Document, weights: Document | None) -> None:
    """Write the manifest and arm the dead-man switch; both may be repeated."""
    manifest = acceptance.manifest(
        record.run_id, cloud.objects.bucket, record.request, record.created_at, dataset, weights
    )
    cloud.objects.put(record.prefix + layout.MANIFEST, dump("manifest", manifest))
    grace = record.request["heartbeat_timeout_seconds"] + cloud.settings.dead_man_margin_seconds
    # What a one-time schedule does whose moment has passed is not documented, so none is ever made.
    cloud.schedules.arm(record.run_id, max(record.deadline_at + grace, cloud.now() + SOONEST_SECONDS))


def _register(cloud: Cloud, request: Document, execution_arn: str, created_at: int) -> RunRecord:
    """Register a run under the first free run id of its second."""
    for clash in range(1, MAX_CLASHES + 1):
        run_id = layout.run_id_at(acceptance.utc(created_at), clash)
        record = RunRecord(
            run_id=run_id,
            execution_arn=execution_arn,
            prefix=layout.run_prefix(run_id),
            request=request,
            created_at=created_at,
            deadline_at=acceptance.deadline_at(request, created_at),
            estimate_usd=acceptance.estimate(request).total_usd,
        )
        if _admit(cloud, record):
            return record
        # Taken by another run of the same second, or by an earlier try of this very call whose answer was lost.
        mine = cloud.runs.of_execution(execution_arn)
        if mine:
            return mine
    raise RuntimeError(f"no free run id in the second {acceptance.iso(created_at)}")


def _admit(cloud: Cloud, record: RunRecord) -> bool:
    """Register a run if its month's budget covers it; returns False when its run id is taken.

    The month is written on condition that it is as it was read. So of two runs that are accepted at once and that the
    budget covers only one by one, the second finds the month moved, reads again and is refused.
    """
    for _ in range(MONTH_READS):
        month = cloud.runs.month(month_of(record.run_id))
        if record.run_id in month.reserved_usd:
            return False
        acceptance.check_budget(record.estimate_usd, month.committed_usd, cloud.settings.monthly_budget_usd)
        try:
            return cloud.runs.register(record, month)
        except MonthMoved:
            continue
    raise AwsUnavailable(f"month {month.month}: expected to reserve a cost, found another run {MONTH_READS} times.")
