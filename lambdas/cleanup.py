"""State Cleanup: delete all that the run has left, write the receipt, weigh it into the verdict. Runs in Lambda."""

from typing import Any

from contracts.reasons import explain
from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.telemetry import about, logger
from lambdas.core.evidence import located
from lambdas.core.records import RunRecord
from lambdas.core.verdict import assumed, standing
from lambdas.flows import evidence
from lambdas.flows.cleaning import REARM_SECONDS, clean
from lambdas.flows.recording import close, end_billing

PATIENCE_SECONDS = 25
MAX_ROUNDS = 40


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Return whether everything is gone, and the run's verdict: leftovers never count as success."""
    found, state = cloud(), event["state"]
    rounds = state.get("cleanup", {}).get("rounds", 0) + 1
    record = found.runs.of_execution(event["execution_arn"])
    where = evidence.address(found, record, event["execution_arn"])
    outcome = state.get("outcome") or assumed(state.get("error"))
    if rounds == 1:
        _keep_evidence(found, record, event["execution_arn"], state, outcome)
    if record is None:
        verdict = _verdict(outcome, [], where)
        return {"everything_gone": True, "done": True, "rounds": rounds, "verdict": verdict}
    about(record.run_id)
    verdict = standing(record, outcome)
    left = _clean(found, record, outcome["reason_code"] or "")
    if left and rounds >= MAX_ROUNDS:
        logger.error("leftovers remain, the dead-man switch goes on", extra={"left": left})
        found.schedules.arm(record.run_id, found.now() + REARM_SECONDS)
    return {
        "everything_gone": not left,
        "done": not left or rounds >= MAX_ROUNDS,
        "rounds": rounds,
        "verdict": _verdict(verdict, left, where),
    }


def _keep_evidence(
    found: Cloud, record: RunRecord | None, execution_arn: str, state: dict[str, Any], end: dict[str, Any]
) -> None:
    """Keep what CollectOutcome did not: of an execution without a run, and of an outcome that had to be assumed."""
    if record is None and end["reason_code"]:
        evidence.keep_refusal(found, execution_arn, end["reason_code"], end["cause"], state.get("error", state))
    elif record and "outcome" not in state and not record.closed_at:
        evidence.keep(found, record, end["reason_code"], end["cause"], state.get("error"))


def _clean(found: Cloud, record: RunRecord, code: str) -> list[str]:
    """Run one round of cleanup; returns what is left."""
    record = close(found, record, code)
    receipt = clean(found, record, "state_machine", PATIENCE_SECONDS)
    if receipt["everything_gone"]:
        end_billing(found, record)
    return [item for kind in receipt["inventory"].values() for item in kind["left"]]


def _verdict(outcome: dict[str, Any], left: list[str], where: str) -> dict[str, Any]:
    """Return the run's verdict; the cause of a failure says what is left and where the evidence lies."""
    verdict = _weighed(outcome, left)
    return verdict if verdict["cause"] is None else {**verdict, "cause": located(verdict["cause"], where)}


def _weighed(outcome: dict[str, Any], left: list[str]) -> dict[str, Any]:
    if not left:
        return {key: outcome[key] for key in ("status", "reason_code", "cause")}
    listing = f"Left: {', '.join(left[:10])}."
    if outcome["status"] == "completed":
        return {"status": "failed", "reason_code": "CleanupIncomplete", "cause": explain("CleanupIncomplete", listing)}
    return {"status": "failed", "reason_code": outcome["reason_code"], "cause": f"{outcome['cause']} {listing}"}
