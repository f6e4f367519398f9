"""Event: SweepRun failed for good on an event. Arms a schedule that calls it again with the same. Runs in Lambda."""

from typing import Any

from lambdas.adapters.cloud import cloud
from lambdas.adapters.schedules import name_of_event
from lambdas.adapters.telemetry import about, logger
from lambdas.flows.terminating import REARM_SECONDS
from lambdas.sweep_run import RunUnknown


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """Arm the sweep of a failed event again; Lambda gives it in the document of the failure.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    failed, found = event["requestPayload"], cloud()
    if (event.get("responsePayload") or {}).get("errorType") == RunUnknown.__name__:
        # Three tries take longer than AcceptRun: what was stopped has registered no run and will not.
        logger.info("an execution was stopped before it had a run")
        return
    at = found.now() + REARM_SECONDS
    if failed.get("source") == "dead_man":
        about(failed["run_id"])
        found.schedules.arm(failed["run_id"], at, failed.get("schedule", failed["run_id"]))
    else:
        arn = failed["detail"]["executionArn"]
        found.schedules.arm_event(name_of_event(arn), at, failed)
    logger.warning(
        "a sweep failed for good and comes again", extra={"failure": str(event.get("responsePayload"))[:500]}
    )
