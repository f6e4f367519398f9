"""Event: a file was uploaded to requests/. Starts one run with it, however often the event comes. Runs in Lambda."""

from typing import Any

from lambdas.adapters.cloud import cloud
from lambdas.adapters.telemetry import logger
from lambdas.core.upload_request import upload_of
from lambdas.flows import uploading


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """Start an execution whose input is the file, or leave a note beside it that says why there is none."""
    found = cloud()
    uploading.start(found, upload_of(event, found.now()))
