"""Event: Lambda gave up calling StartFromUpload for an upload. Leaves a note beside the file. Runs in Lambda."""

from typing import Any

from lambdas.adapters.cloud import cloud
from lambdas.adapters.telemetry import logger
from lambdas.core.upload_request import upload_of
from lambdas.flows import uploading


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """Note what became of the upload; `requestPayload` is the event that StartFromUpload could not handle.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    found = cloud()
    said = event.get("responsePayload") or {}
    problem = ": ".join(str(said[part]) for part in ("errorType", "errorMessage") if said.get(part))
    given_up = str((event.get("requestContext") or {}).get("condition", ""))
    uploading.note_lost(found, upload_of(event["requestPayload"], found.now()), problem or given_up)
