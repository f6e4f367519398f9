"""State RecordRun: write the verdict, then disarm the dead-man schedule and complete the receipt. Runs in Lambda."""

from typing import Any

from contracts.documents import Document
from lambdas.adapters.clients import AWS_ERRORS, problem_of
from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.telemetry import about, logger
from lambdas.core.records import RunRecord
from lambdas.core.verdict import ENDED, recorded_verdict
from lambdas.flows.cleaning import disarm
from lambdas.flows.recording import record_verdict


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Return what was recorded and the verdict to end with; the run's result stands even if this fails."""
    found, cleaned = cloud(brief=True), event["state"]["cleanup"]
    verdict = {name: cleaned["verdict"][name] for name in ("status", "reason_code", "cause")}
    record = found.runs.of_execution(event["execution_arn"])
    if record is None:
        return {"recorded": False, "cost_usd": 0.0, **verdict}
    about(record.run_id)
    if verdict["reason_code"] == ENDED and not record.ended_at:
        # Whoever closed the run knows why, and writes it once nothing is left.
        return {"recorded": False, "cost_usd": 0.0, **verdict}
    record = record_verdict(found, record, verdict["status"], verdict["reason_code"] or "", verdict["cause"] or "")
    _disarm(found, record, cleaned)
    return {"recorded": True, "cost_usd": round(record.cost_usd, 4), **recorded_verdict(record, verdict)}


def _disarm(found: Cloud, record: RunRecord, cleaned: Document) -> None:
    """Disarm when nothing is left. Best effort: the sweep that follows each execution does what this could not."""
    if not cleaned.get("everything_gone"):
        return
    try:
        disarm(found, record.run_id, "state_machine")
    except AWS_ERRORS as error:
        logger.warning("the dead-man schedule may still be armed", extra={"problem": problem_of(error)})
