"""The registry's read model, control_registry.json, derived from the records. Runs in Lambda; pure."""

from contracts import layout
from contracts.documents import Document
from lambdas.core.acceptance import iso
from lambdas.core.records import RunRecord


def read_model(records: list[RunRecord], bucket: str, now: int) -> Document:
    """Return control_registry.json for `records`, the newest run first."""
    ended = [r for r in records if r.ended_at]
    return {
        "runs": [_entry(r, bucket) for r in sorted(records, key=lambda r: r.run_id, reverse=True)],
        "latest_deployment": None,
        "system_stats": {
            "total_runs": len(records),
            "successful_runs": sum(r.status == "completed" for r in ended),
            "failed_runs": sum(r.status != "completed" for r in ended),
            "last_updated": iso(now),
        },
    }


def _entry(record: RunRecord, bucket: str) -> Document:
    prefix = f"s3://{bucket}/{record.prefix}"
    best = best_metrics(record)
    return {
        "run_id": record.run_id,
        "status": record.status,
        "reason_code": record.reason_code or None,
        "start_time": iso(record.created_at),
        "end_time": iso(record.ended_at) if record.ended_at else None,
        "models": record.request["models"],
        "performance": {"mae": best.get("mae"), "sharpe_ratio": best.get("sharpe_ratio")},
        "cost_usd": record.cost_usd or None,
        "cost": record.cost or None,
        "deployed": False,
        "model_path": f"{prefix}models/",
        "metadata_path": f"{prefix}{layout.MODEL_METADATA}",
    }


def best_metrics(record: RunRecord) -> Document:
    """Return the metrics of the model with the lowest MASE (MAE where MASE is undefined), {} before there are any."""

    def rank(metrics: Document) -> tuple[float, float]:
        values = (metrics.get("mase"), metrics.get("mae"))
        return (
            values[0] if values[0] is not None else float("inf"),
            values[1] if values[1] is not None else float("inf"),
        )

    return min(record.metrics.values(), key=rank, default={})
