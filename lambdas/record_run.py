"""State RecordRun: write the verdict to the runs table, the registry and the metrics. Runs in Lambda."""

from typing import Any

from lambdas.adapters.cloud import cloud
from lambdas.adapters.telemetry import about, logger
from lambdas.core.verdict import ENDED, standing
from lambdas.flows.recording import record_verdict


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Return what was recorded and the verdict to end with; the run's result stands even if this fails."""
    found = cloud()
    verdict = {name: event["state"]["cleanup"]["verdict"][name] for name in ("status", "reason_code", "cause")}
    record = found.runs.of_execution(event["execution_arn"])
    if record is None:
        return {"recorded": False, "cost_usd": 0.0, **verdict}
    about(record.run_id)
    if verdict["reason_code"] == ENDED and not record.ended_at:
        # Whoever closed the run knows why, and writes it once nothing is left.
        return {"recorded": False, "cost_usd": 0.0, **verdict}
    record = record_verdict(found, record, verdict["status"], verdict["reason_code"] or "", verdict["cause"] or "")
    return {"recorded": True, "cost_usd": round(record.cost_usd, 4), **standing(record, verdict)}
