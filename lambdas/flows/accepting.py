"""Turn a request into a registered run; what can be refused is refused before money is spent. Runs in Lambda."""

from contracts import layout
from contracts.documents import Document, dump
from contracts.models import needs_weights
from contracts.prices import Cost
from contracts.reasons import DatasetInvalid, DatasetNotFound, ModelWeightsMissing
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.quotas import vcpu_quotas
from lambdas.core import acceptance
from lambdas.core.costs import committed_usd
from lambdas.core.dataset_head import head_problems
from lambdas.core.ladder import markets
from lambdas.core.records import RunRecord

CHECKED_FILES = 50
CHECKED_BYTES = 4 * 1024 * 1024
MAX_CLASHES = 99
SOONEST_SECONDS = 60
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def accept(cloud: Cloud, document: object, execution_arn: str, created_at: int) -> RunRecord:
    """Return the record of the execution's run, registered once however often this is called.

    Raises
    ------
    RunError
        Before anything is registered; its class is the reason code.
    """
    record = cloud.runs.of_execution(execution_arn)
    request = record.request if record else acceptance.checked_request(document)
    dataset = _dataset(cloud, request)
    weights = _weights(cloud, request)
    if record is None:
        cost = acceptance.estimate(request)
        _check_means(cloud, request, cost, created_at)
        record = _register(cloud, {**request, "dataset": dataset["name"]}, execution_arn, created_at, cost.total_usd)
    _prepare(cloud, record, dataset, weights)
    return record


def _prepare(cloud: Cloud, record: RunRecord, dataset: Document, weights: Document | None) -> None:
    """Write the manifest and arm the dead-man switch; both may be repeated."""
    manifest = acceptance.manifest(
        record.run_id, cloud.objects.bucket, record.request, record.created_at, dataset, weights
    )
    cloud.objects.put(record.prefix + layout.MANIFEST, dump("manifest", manifest))
    grace = record.request["heartbeat_timeout_seconds"] + cloud.settings.dead_man_margin_seconds
    # What a one-time schedule does whose moment has passed is not documented, so none is ever made.
    cloud.schedules.arm(record.run_id, max(record.deadline_at + grace, cloud.now() + SOONEST_SECONDS))


def _check_means(cloud: Cloud, request: Document, cost: Cost, created_at: int) -> None:
    month = acceptance.iso(created_at)[:7].replace("-", "")
    spent = committed_usd(cloud.runs.since(month))
    acceptance.check_cost(request, cost, spent, cloud.settings.monthly_budget_usd)
    acceptance.check_quota(request, vcpu_quotas(markets(request["market"], 1)))


def _register(cloud: Cloud, request: Document, execution_arn: str, created_at: int, estimate_usd: float) -> RunRecord:
    for clash in range(1, MAX_CLASHES + 1):
        run_id = layout.run_id_at(acceptance.utc(created_at), clash)
        record = RunRecord(
            run_id=run_id,
            execution_arn=execution_arn,
            prefix=layout.run_prefix(run_id),
            request=request,
            created_at=created_at,
            deadline_at=acceptance.deadline_at(request, created_at),
            estimate_usd=estimate_usd,
        )
        if cloud.runs.register(record):
            return record
        # Taken by another run of the same second, or by an earlier try of this very call whose answer was lost.
        mine = cloud.runs.of_execution(execution_arn)
        if mine:
            return mine
    raise RuntimeError(f"no free run id in the second {acceptance.iso(created_at)}")


def _dataset(cloud: Cloud, request: Document) -> Document:
    name = request["dataset"] or acceptance.newest_dataset(cloud.objects.listed(layout.DATASETS))
    if name is None:
        raise DatasetNotFound("dataset: expected Parquet or CSV files below datasets/<name>/, found none.")
    prefix = f"{layout.DATASETS}{name}/"
    stored = cloud.objects.listed(prefix)
    files = [o for o in stored if o.key.endswith(layout.DATA_SUFFIXES) and o.size]
    if not files:
        found = f"{len(stored)} other or empty objects" if stored else "nothing"
        raise DatasetNotFound(f"dataset: expected Parquet or CSV files below {prefix}, found {found}.")
    if problem := acceptance.path_problem(files, prefix):
        raise DatasetInvalid(problem)
    head_problems(cloud.objects.heads([(o.key, o.size) for o in files[:CHECKED_FILES]], CHECKED_BYTES))
    return acceptance.folder(name, prefix, files)


def _weights(cloud: Cloud, request: Document) -> Document | None:
    if not needs_weights(request["models"]):
        return None
    name = request["chronos_weights"]
    prefix = f"{layout.MODEL_WEIGHTS}{name}/"
    stored = [o for o in cloud.objects.listed(prefix) if o.size]
    names = [o.key.removeprefix(prefix) for o in stored]
    if problem := acceptance.path_problem(stored, prefix):
        raise ModelWeightsMissing(problem)
    pickled = [n for n in names if n.endswith(_PICKLES)]
    if pickled:
        raise ModelWeightsMissing(f"{prefix}{pickled[0]}: expected safetensors only, found a pickled file; delete it.")
    if "config.json" not in names or not any(n.endswith(".safetensors") for n in names):
        found = ", ".join(names[:5]) or "nothing"
        raise ModelWeightsMissing(
            f"chronos_weights: expected config.json and model.safetensors below {prefix}, found {found}."
        )
    return acceptance.folder(name, prefix, stored)
