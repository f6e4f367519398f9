"""State Cleanup: end the machine, delete all that the run has left, write the receipt. Runs in Lambda."""

from typing import Any

from contracts.documents import Document
from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.telemetry import about, logger
from lambdas.core.inventory import Inventory, finished, of_execution, of_run
from lambdas.core.records import RunRecord
from lambdas.core.verdict import assumed, recorded_verdict, with_leftovers
from lambdas.flows import evidence
from lambdas.flows.cleaning import clean
from lambdas.flows.recording import close, end_billing
from lambdas.flows.terminating import arm_next, end_instances, on_record

PATIENCE_SECONDS = 25
# Longer than Cleanup itself takes with all of its tries, so that its schedule does not come while it is at work.
RESCUE_SECONDS = 2400


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Return whether everything is gone, and the run's verdict: leftovers never count as success."""
    found, state, arn = cloud(brief=True), event["state"], event["execution_arn"]
    rounds = state.get("cleanup", {}).get("rounds", 0) + 1
    run_id = str(state.get("run", {}).get("run_id", ""))
    about(run_id)
    if rounds == 1 and run_id:
        arm_next(found, run_id, RESCUE_SECONDS)
    tag = of_run(run_id) if run_id else of_execution(arn)
    ended = end_instances(found, tag, lambda: on_record(found.runs.of_execution(arn)))
    record = found.runs.of_execution(arn)
    run_id = record.run_id if record else run_id
    about(run_id)
    outcome = state.get("outcome") or assumed(state.get("error"))
    verdict = recorded_verdict(record, outcome)
    where = evidence.address(found, record, arn)
    left = Inventory()
    if record:
        record = _close(found, record, state, outcome)
    elif rounds == 1 and outcome["reason_code"]:
        evidence.keep_refusal(found, arn, outcome["reason_code"], outcome["cause"], state.get("error", state))
    if run_id:
        left = _clean(found, run_id, record, ended)
    done = finished(left, rounds)
    if done and not left.empty:
        logger.error("leftovers remain, the dead-man switch goes on", extra={"left": left.remaining()})
        arm_next(found, run_id)
    return {
        "everything_gone": left.empty,
        "done": done,
        "rounds": rounds,
        "verdict": with_leftovers(verdict, left.remaining(), where),
    }


def _close(found: Cloud, record: RunRecord, state: Document, outcome: Document) -> RunRecord:
    """Close the run; keep the evidence that CollectOutcome did not: of an outcome that had to be assumed."""
    record = close(found, record, outcome["reason_code"] or "")
    if not {"outcome", "cleanup"} & set(state) and not record.ended_at:
        evidence.keep(found, record, outcome["reason_code"], outcome["cause"], state.get("error"))
    return record


def _clean(found: Cloud, run_id: str, record: RunRecord | None, ended: list[Document]) -> Inventory:
    """Run one round of cleanup; returns what is left."""
    left = clean(found, run_id, record, "state_machine", PATIENCE_SECONDS, ended)
    if left.empty and record:
        end_billing(found, record)
    return left
