"""What a run gave: verdict, metrics, forecasts, cost, receipt. Runs on a person's machine."""

import time
from typing import Any

import boto3

from cli.kept import read
from cli.stack import Stack
from contracts import layout
from contracts.documents import Document
from contracts.plain import plain, plain_document
from lambdas.core.acceptance import iso
from lambdas.core.costs import FROM_LAUNCH, FROM_LIST
from lambdas.core.records import WAITING, RunRecord, from_item
from lambdas.core.waiting import waits_until

# A stopped execution is cleaned up by an event; EC2 takes a minute or more to end an instance.
CONCLUSION_SECONDS = 180
FAILED_SHOWN = 3
METRICS = {
    "mae": "MAE", "rmse": "RMSE", "mase": "MASE", "wql": "WQL", "interval_coverage": "coverage",
    "direction_accuracy": "direction", "sharpe_ratio": "Sharpe ratio",
}  # fmt: skip


PARTS = {
    "instance_usd": "instance", "volume_usd": "volume", "address_usd": "address", "requests_usd": "requests",
    "transitions_usd": "transitions",
}  # fmt: skip


class RunMissing(RuntimeError):
    """There is no such run."""


def load(stack: Stack, run_id: str) -> RunRecord:
    """Return the record of a run; raises RunMissing."""
    item = boto3.resource("dynamodb").Table(stack.runs_table).get_item(Key={"id": run_id}, ConsistentRead=True)
    if "Item" not in item:
        raise RunMissing(f"run {run_id}: expected a run of the table {stack.runs_table}, found none.")
    return from_item(item["Item"])


def concluded(stack: Stack, run_id: str) -> RunRecord:
    """Return the record of a run whose execution has ended, after a stop once it was cleaned up and recorded."""
    gives_up_at = time.monotonic() + CONCLUSION_SECONDS
    while not (record := load(stack, run_id)).ended_at and time.monotonic() < gives_up_at:
        time.sleep(1)
    return record


def newest(stack: Stack, limit: int) -> list[RunRecord]:
    """Return the newest runs."""
    answer = (
        boto3.resource("dynamodb")
        .Table(stack.runs_table)
        .query(
            IndexName="by-time",
            KeyConditionExpression="kind = :run",
            ExpressionAttributeValues={":run": "run"},
            ScanIndexForward=False,
            Limit=limit,
        )
    )
    return [from_item(item) for item in answer["Items"]]


def listing(records: list[RunRecord]) -> str:
    """Return the runs as lines of text."""
    head = f"{'run':<20}{'status':<12}{'reason':<22}{'data set':<22}{'minutes':>8}{'USD':>9}"
    lines = [head]
    for r in records:
        minutes = f"{(r.ended_at - r.created_at) / 60:.1f}" if r.ended_at else ""
        cost = f"{r.cost_usd:.4f}" if r.ended_at else ""
        dataset = str(r.request["dataset"])
        lines.append(f"{r.run_id:<20}{r.status:<12}{r.reason_code:<22}{dataset[:20]:<22}{minutes:>8}{cost:>9}")
    return "\n".join(lines)


def report(stack: Stack, record: RunRecord) -> str:
    """Return all about one run as text."""
    where = f"s3://{stack.bucket}/{record.prefix}"
    parts = [
        _verdict(record), _waiting(record), _metrics(stack, record), _where(record, where), _ladder(record),
        _cost(record), _receipt(stack, record),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def _verdict(record: RunRecord) -> str:
    head = f"Run {record.run_id} {record.status}" + (f": {record.reason_code}" if record.reason_code else "")
    # Indented, so that no line of a message looks like one of this report's own.
    cause = plain(record.cause, keep="\n").replace("\n", "\n  ")
    return f"{head}\n{cause}" if cause else head


def _waiting(record: RunRecord) -> str:
    """Return until when a run waits for capacity, "" when it does not."""
    if record.status != WAITING:
        return ""
    return (
        f"AWS has had no capacity since {iso(record.capacity_since)}. The run asks again at "
        f"{iso(record.launch_started_at)}, until {iso(waits_until(record))}; no machine is paid for meanwhile."
    )


def _ladder(record: RunRecord) -> str:
    """Return what EC2 was asked for and said, unless each answer was an instance."""
    launched = [attempt.instance_id for attempt in record.attempts]
    if all(any(instance_id in line for instance_id in launched) for line in record.rungs):
        return ""
    return "Asked of EC2\n" + "\n".join(f"  {line}" for line in record.rungs)


def _metrics(stack: Stack, record: RunRecord) -> str:
    kept = read(stack, record, layout.MODEL_METADATA)
    problem = kept.problem
    if kept.document:
        try:
            return _described(kept.document)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
            problem = f"{layout.MODEL_METADATA} does not follow its contract."
    measured = {name: plain_document(metrics) for name, metrics in record.metrics.items() if isinstance(metrics, dict)}
    if not measured:
        return problem
    rows = [(plain(name), metrics, "") for name, metrics in measured.items()]
    return "\n".join(["Metrics on record", *_table(rows), *([problem] if problem else [])])


def _described(metadata: Document) -> str:
    """Return what model_metadata.json tells."""
    data = metadata["data"]
    rows = [(name, model["metrics"], f"{model['seconds']:.1f}") for name, model in _ranked(metadata)]
    lines = [
        f"{data['series']} series, {data['rows']} rows of {data['dataset']} ({data['freq']}), "
        f"{data['n_windows']} windows of {data['prediction_length']} steps",
        *_table(rows),
    ]
    lines += [f"  {sentence}" for sentence in metadata.get("leaderboard", {}).get("sentences", [])]
    lines += _legend(metadata)
    if "sharpe" in metadata["request"].get("metrics", []):
        lines.append("  The Sharpe ratio, with its standard error, means something for prices only.")
    lines += [f"  note: {name}: {note}" for name, model in metadata["models"].items() for note in _model_notes(model)]
    lines += [f"  note: {note}" for note in data.get("notes", [])]
    return "\n".join(lines)


def _table(rows: list[tuple[str, Document, str]]) -> list[str]:
    """Return lines of models, their metrics and the seconds they took, "" where those are not known."""
    measured = {key for _, metrics, _ in rows for key in metrics}
    shown = {key: title for key, title in METRICS.items() if key in measured}
    head = f"  {'model':<22}" + "".join(f"{title:>{_width(key)}}" for key, title in shown.items())
    timed = any(seconds for *_, seconds in rows)
    lines = [head + f"{'seconds':>10}" if timed else head]
    for name, metrics, seconds in rows:
        cells = "".join(f"{_cell(metrics, key):>{_width(key)}}" for key in shown)
        lines.append(f"  {name:<22}{cells}" + (f"{seconds:>10}" if timed else ""))
    return lines


def _width(metric: str) -> int:
    return 17 if metric == "sharpe_ratio" else 11


def _ranked(metadata: Document) -> list[tuple[str, Document]]:
    """Return the models from best to worst, where they were ranked."""
    models = metadata["models"]
    ranks = {row["model"]: row["rank"] for row in metadata.get("leaderboard", {}).get("rows", [])}
    return sorted(models.items(), key=lambda item: ranks.get(item[0], 0))


def _legend(metadata: Document) -> list[str]:
    """Say what the figures mean."""
    lines = ["  MASE 1 is the error that repeating the last season made in the history, one season ahead."]
    levels = {model["metrics"].get("interval_level") for model in metadata["models"].values()} - {None}
    if levels:
        lines.append(f"  Coverage is the share of values within the interval; {max(levels):.0%} would be right.")
    return lines


def _model_notes(model: Document) -> list[str]:
    failed, ignored = model.get("series_failed", 0), model.get("ignored_covariates", [])
    notes = []
    if failed:
        named = "; ".join(f"{name}: {why}" for name, why in list(model.get("failed_series", {}).items())[:FAILED_SHOWN])
        notes.append(f"{failed} series could not be forecast by the model and were by a naive fallback ({named}).")
    if ignored:
        notes.append(f"makes no use of {', '.join(ignored)}.")
    return notes + list(model.get("notes", []))


def _cell(metrics: Document, key: str) -> str:
    value = metrics.get(key)
    if value is None:
        return "-"
    error = metrics.get(f"{key}_standard_error")
    return f"{_figure(value, '.2f')} ± {_figure(error, '.2f')}" if error is not None else _figure(value, ".4g")


def _figure(value: Any, form: str) -> str:
    """Return a number as text, and whatever else stands in its place, shortened."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(str(value))[:10]
    try:
        return f"{value:{form}}"
    except OverflowError:
        # An integer that no float can hold; a document that follows its contract has none.
        return ">1e308" if value > 0 else "<-1e308"


def _where(record: RunRecord, where: str) -> str:
    lines = ["Artifacts", f"  {where}"]
    if record.status == "completed":
        lines += [f"  forecasts/{model}.parquet, backtest/{model}.parquet" for model in record.request["models"]]
    return "\n".join([*lines, f"  logs/attempt-{record.attempt}/"])


def _cost(record: RunRecord) -> str:
    if not record.ended_at:
        return ""
    lines = [
        f"Cost on AWS for the time it took: {record.cost_usd:.4f} USD (allowed: {record.request['max_cost_usd']:g})"
    ]
    prices = {price["instance_id"]: _price(price) for price in record.cost.get("instance_prices", [])}
    for a in record.attempts:
        lived = f"{(a.ended_at or record.ended_at) - a.launched_at} s (a minute is billed at least)"
        bought = f"{a.instance_type} {a.market}{prices.get(a.instance_id, '')}"
        lines.append(f"  attempt {a.attempt}: {bought}, {lived} from {iso(a.launched_at)}")
    return "\n".join(lines + _breakdown(record.cost))


def _price(price: Document) -> str:
    """Return what an hour of an instance was counted with, and who said so."""
    source = {FROM_LAUNCH: "EC2 at its launch", FROM_LIST: "price list"}[price["price_from"]]
    return f" at {price['usd_per_hour']:g} USD/h ({source})"


def _breakdown(cost: Document) -> list[str]:
    """Return the parts of a cost and what they were made from; a run of an earlier version has none."""
    if not cost:
        return []
    counted = {"history": "counted in the execution's history", "assumed": "assumed"}[cost["transitions_from"]]
    return [
        "  " + ", ".join(f"{title} {cost[part]:.6f}" for part, title in PARTS.items()),
        f"  {cost['transitions']} state transitions, {counted}; {cost['reports']} reports; "
        f"{cost['function_calls']} calls of functions; prices of {cost['prices_as_of']}",
    ]


def _receipt(stack: Stack, record: RunRecord) -> str:
    kept = read(stack, record, layout.CLEANUP_STATUS)
    if not kept.document:
        return kept.problem
    try:
        kinds = [_kind(kind, entry) for kind, entry in kept.document["inventory"].items()]
        return "\n".join([f"Cleanup receipt, {kept.document['checked_at']}", *kinds])
    except (LookupError, TypeError, AttributeError):
        return f"{layout.CLEANUP_STATUS} does not follow its contract."


def _kind(kind: str, entry: Document) -> str:
    told = [*entry["left"], *([entry["problem"]] if entry.get("problem") else [])]
    return f"  {kind.replace('_', ' '):<22}{entry['state']} {', '.join(told)}".rstrip()
