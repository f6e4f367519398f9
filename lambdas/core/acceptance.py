"""What a request means before any money is spent: checks, deadlines, estimate, manifest. Runs in Lambda; pure."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from contracts import layout
from contracts.documents import Document, DocumentInvalid, check
from contracts.models import ENSEMBLE, members
from contracts.plain import plain
from contracts.prices import Cost, prices, run_cost, usd_per_hour, vcpus
from contracts.reasons import CostCapTooLow, MonthlyBudgetExceeded, QuotaTooLow, RequestInvalid
from lambdas.core.ladder import markets, on_demand_usd, quota_command, rungs

FEWEST_MEMBERS = 2
DATA_COLUMNS = ("unique_id", "ds", "y")
SECONDS_PER_MINUTE = 60
HEARTBEAT_SECONDS = 30


@dataclass(frozen=True)
class Stored:
    """An object in the bucket; `modified_at` in epoch seconds."""

    key: str
    size: int
    etag: str
    modified_at: float


def checked_request(document: Any) -> Document:
    """Return the request with its defaults; raises RequestInvalid naming the field."""
    try:
        request = check("run_request", document)
    except DocumentInvalid as error:
        raise RequestInvalid(str(error)) from error
    levels = request["quantile_levels"]
    if levels != sorted(levels):
        raise RequestInvalid(f"quantile_levels: expected ascending numbers, found {levels}.")
    _check_models(request["models"])
    _check_covariates(request["past_covariates"], request["known_covariates"])
    _check_price_limit(request)
    _check_capacity_wait(request)
    return request


def _check_models(models: list[str]) -> None:
    others = members(models)
    if ENSEMBLE in models and len(others) < FEWEST_MEMBERS:
        raise RequestInvalid(
            f"models: expected at least {FEWEST_MEMBERS} models for {ENSEMBLE} to weigh, "
            f"found {', '.join(others) or 'none'}. Name more, or leave {ENSEMBLE} out."
        )


def _check_covariates(past: list[str], known: list[str]) -> None:
    for field, columns, others in (("past_covariates", past, known), ("known_covariates", known, [])):
        wrong = sorted(set(columns) & {*DATA_COLUMNS, *others})
        if wrong:
            named = "it is a column of the format" if wrong[0] in DATA_COLUMNS else "known_covariates names it, too"
            raise RequestInvalid(f"{field}: expected columns beside unique_id, ds and y, found {wrong[0]}; {named}.")


def _check_price_limit(request: Document) -> None:
    limit, kinds = request["max_usd_per_hour"], request["instance_types"]
    least = min(on_demand_usd(kind) for kind in kinds)
    if limit is not None and request["market"] != "spot" and limit < least:
        raise RequestInvalid(
            f"max_usd_per_hour: expected at least {least:g} for {', '.join(kinds)} on demand, found {limit:g}. "
            "Raise it, allow a smaller instance type, or set market to spot."
        )


def _check_capacity_wait(request: Document) -> None:
    wait, longest = request["capacity_wait_minutes"], request["max_runtime_minutes"]
    if wait >= longest:
        raise RequestInvalid(
            f"capacity_wait_minutes: expected less than max_runtime_minutes, which counts waiting and is {longest:g}, "
            f"found {wait:g}. Raise max_runtime_minutes by as much as you would wait, or wait less."
        )


def deadline_at(request: Document, created_at: int) -> int:
    """Return when training must have ended, in epoch seconds."""
    return created_at + round(float(request["max_runtime_minutes"]) * SECONDS_PER_MINUTE)


def longest_wait_seconds(request: Document) -> int:
    """Return the longest that a state can wait on after the run's deadline: for a first report, or for the next."""
    return max(int(request["boot_timeout_seconds"]), int(request["heartbeat_timeout_seconds"]))


def boot_seconds(request: Document, deadline: int, now: int) -> int:
    """Return how long to wait for a machine's first report: not beyond the deadline (epoch seconds)."""
    return max(1, min(int(request["boot_timeout_seconds"]), deadline - now))


def choices(request: Document) -> list[tuple[str, str]]:
    """Return the instance types and markets that the request allows and its price limit does not rule out."""
    return [(rung.instance_type, rung.market) for rung in rungs(request, [""], 1) if not rung.too_dear]


def estimate(request: Document) -> Cost:
    """Return the most the run can cost: its dearest instance for all of its time."""
    seconds = request["max_runtime_minutes"] * SECONDS_PER_MINUTE
    dearest = max(choices(request), key=lambda pair: usd_per_hour(*pair))
    return run_cost(*dearest, seconds=seconds, heartbeats=round(seconds / HEARTBEAT_SECONDS))


def check_cost(request: Document, cost: Cost) -> None:
    """Refuse a run that may cost more than its request allows; raises CostCapTooLow."""
    total, cap = cost.total_usd, request["max_cost_usd"]
    if total > cap:
        minutes = request["max_runtime_minutes"]
        raise CostCapTooLow(
            f"max_cost_usd: expected at least {total:.2f} for max_runtime_minutes {minutes:g} "
            f"on {', '.join(request['instance_types'])}, found {cap:g}."
        )


def check_budget(estimate_usd: float, committed_usd: float, monthly_budget_usd: float) -> None:
    """Refuse a run that its month's budget does not cover; raises MonthlyBudgetExceeded."""
    if committed_usd + estimate_usd > monthly_budget_usd:
        raise MonthlyBudgetExceeded(
            f"This month: {committed_usd:.2f} USD spent or reserved; this run may cost {estimate_usd:.2f}; "
            f"monthly_budget_usd is {monthly_budget_usd:g}."
        )


def check_quota(request: Document, quotas: dict[str, float | None]) -> None:
    """Refuse a run that no allowed market's vCPU quota admits (None, unreadable, admits); raises QuotaTooLow."""
    needed = min(vcpus(kind) for kind in request["instance_types"])
    tried = markets(request["market"], 1)
    values = [quotas.get(market) for market in tried]
    if any(value is None or value >= needed for value in values):
        return
    found = ", ".join(f"{market} {value:g}" for market, value in zip(tried, values, strict=True))
    command = quota_command(tried[-1], needed)
    raise QuotaTooLow(f"vCPU quota: expected at least {needed} for G and VT instances, found {found}. Run: {command}")


def newest_dataset(objects: list[Stored]) -> str | None:
    """Return the name of the data set that holds the newest data file, or None."""
    files = [
        o
        for o in objects
        if o.key.endswith(layout.DATA_SUFFIXES)
        and o.key.count("/") > 1
        and o.size
        # A folder that no request can name is nobody's data set.
        and layout.is_folder_name(o.key.split("/")[1])
    ]
    newest = max(files, key=lambda o: (o.modified_at, o.key), default=None)
    return newest.key.split("/")[1] if newest else None


def manifest(
    run_id: str, bucket: str, request: Document, created_at: int, dataset: Document, weights: Document | None
) -> Document:
    """Return manifest.json, checked against its contract."""
    return check("manifest", {
        "schema_version": 1,
        "run_id": run_id,
        "bucket": bucket,
        "prefix": layout.run_prefix(run_id),
        "created_at": iso(created_at),
        "deadline_at": iso(deadline_at(request, created_at)),
        "request": request,
        "dataset": dataset,
        "chronos_weights": weights,
        "usd_per_hour": {
            kind: {market: usd_per_hour(kind, market) for market in ("on_demand", "spot")}
            for kind in prices()["instance_usd_per_hour"]
        },
    })  # fmt: skip


def path_problem(objects: list[Stored], prefix: str) -> str | None:
    """Return what is wrong with the first key that could not be a path on the machine, or None."""
    wrong = next((o.key for o in objects if not layout.is_path_below(o.key, prefix)), None)
    return f"{plain(wrong)}: expected a plain path below {prefix}; rename the object." if wrong else None


def folder(name: str, prefix: str, objects: list[Stored]) -> Document:
    """Return the manifest's entry for a folder of objects."""
    listed = [{"key": o.key, "bytes": o.size, "etag": o.etag} for o in sorted(objects, key=lambda o: o.key)]
    return {"name": name, "prefix": prefix, "objects": listed}


def utc(epoch_seconds: float) -> datetime:
    """Return a moment as a datetime in UTC."""
    return datetime.fromtimestamp(epoch_seconds, UTC)


def iso(epoch_seconds: float) -> str:
    """Return a moment as ISO 8601 in UTC, to the second."""
    return utc(epoch_seconds).isoformat(timespec="seconds").replace("+00:00", "Z")
