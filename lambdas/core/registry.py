"""The registry's read model, control_registry.json, derived from the records. Runs in Lambda; pure.

Several runs may end at once, and the table's index lags behind the table. So what is written next is made from the
records and from what the registry shows, and never goes back behind that: a run that was shown as ended stays ended.
"""

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from contracts import layout
from contracts.documents import Document
from lambdas.core.acceptance import iso
from lambdas.core.measured import finite
from lambdas.core.records import RunRecord
from lambdas.core.verdict import COMPLETED

REGISTRY_RUNS = 1000


def read_model(
    records: list[RunRecord], bucket: str, now: int, shown: Sequence[Document] = (), most: int = REGISTRY_RUNS
) -> Document:
    """Return control_registry.json for `records`, the newest run first.

    Parameters
    ----------
    records : list of RunRecord
        As far as the table's index knows them.
    bucket : str
    now : int
        Epoch seconds.
    shown : sequence of dict
        The entries that the registry has; see `shown_entries`.
    most : int
        Runs that it keeps.
    """
    entries = {r.run_id: _entry(r, bucket) for r in records}
    for entry in shown:
        fresh = entries.get(entry["run_id"])
        if fresh is None or (entry["end_time"] and not fresh["end_time"]):
            entries[entry["run_id"]] = entry
    runs = [entries[run_id] for run_id in sorted(entries, reverse=True)[:most]]
    ended = [entry for entry in runs if entry["end_time"]]
    return {
        "runs": runs,
        "latest_deployment": None,
        "system_stats": {
            "total_runs": len(runs),
            "successful_runs": sum(entry["status"] == COMPLETED for entry in ended),
            "failed_runs": sum(entry["status"] != COMPLETED for entry in ended),
            "last_updated": iso(now),
        },
    }


def shown_entries(content: bytes | None) -> list[Document]:
    """Return the entries of a registry as it is in the bucket; what cannot be one of ours is left out.

    The table has all that the registry shows, so a file that nobody can read is made anew from it.
    """
    try:
        document = json.loads(content or b"{}", parse_constant=_refuse)
    except (ValueError, RecursionError):
        return []
    runs = document.get("runs") if isinstance(document, dict) else None
    return [entry for entry in runs if _is_entry(entry)] if isinstance(runs, list) else []


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("status"), str):
        return False
    end_time = entry.get("end_time", 0)
    return layout.is_run_id(entry.get("run_id")) and (end_time is None or isinstance(end_time, str))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _entry(record: RunRecord, bucket: str) -> Document:
    prefix = f"s3://{bucket}/{record.prefix}"
    best = best_metrics(record) if record.status == COMPLETED else {}
    return {
        "run_id": record.run_id,
        "status": record.status,
        "reason_code": record.reason_code or None,
        "start_time": iso(record.created_at),
        "end_time": iso(record.ended_at) if record.ended_at else None,
        "models": record.request.get("models", []),
        "performance": {"mae": finite(best.get("mae")), "sharpe_ratio": finite(best.get("sharpe_ratio"))},
        "cost_usd": record.cost_usd or None,
        "cost": record.cost or None,
        "deployed": False,
        "model_path": f"{prefix}models/",
        "metadata_path": f"{prefix}{layout.MODEL_METADATA}",
    }


def best_metrics(record: RunRecord) -> Document:
    """Return the metrics of the model with the lowest MASE (MAE where MASE is undefined), {} before there are any."""

    def rank(metrics: Document) -> tuple[float, float]:
        mase, mae = finite(metrics.get("mase")), finite(metrics.get("mae"))
        return (float("inf") if mase is None else mase, float("inf") if mae is None else mae)

    return min(filter(None, record.metrics.values()), key=rank, default={})
