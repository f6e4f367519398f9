"""State AcceptRun: check the request, register the run once, arm its dead-man switch. Runs in Lambda."""

from datetime import datetime
from typing import Any

from lambdas.adapters.clients import repeatable
from lambdas.adapters.cloud import cloud
from lambdas.adapters.telemetry import about, logger
from lambdas.core.acceptance import boot_seconds
from lambdas.flows.accepting import accept


@logger.inject_lambda_context(clear_state=True)
@repeatable
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Return what the next states need of the run; raises a RunError named after the reason code."""
    created_at = int(datetime.fromisoformat(event["started_at"]).timestamp())
    found = cloud()
    record = accept(found, event["request"], event["execution_arn"], created_at)
    about(record.run_id)
    logger.info("run accepted", extra={"dataset": record.request["dataset"], "estimate_usd": record.estimate_usd})
    return {
        "run_id": record.run_id,
        "prefix": record.prefix,
        "dataset": record.request["dataset"],
        "at_most_usd": round(record.estimate_usd, 2),
        "boot_timeout_seconds": boot_seconds(record.request, record.deadline_at, found.now()),
        "heartbeat_timeout_seconds": record.request["heartbeat_timeout_seconds"],
    }
