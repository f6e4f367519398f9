"""Custom resource: before the stack is deleted, end every run and leave no instance behind. Runs in Lambda."""

import json
import urllib.request
from typing import Any

from lambdas.adapters.cloud import cloud
from lambdas.adapters.telemetry import logger
from lambdas.flows.draining import drain

PATIENCE_SECONDS = 600


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """Answer CloudFormation: on Delete only once no instance of the project is left.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes-delete.html
    """
    try:
        problem = _prepare(event["RequestType"])
    except Exception as error:
        # Whatever it is, CloudFormation must hear it: without an answer it waits for an hour.
        logger.exception("the request failed")
        problem = f"{type(error).__name__}: {error}"
    _answer(event, problem)


def _prepare(request_type: str) -> str:
    """Drain a stack that is to be deleted, open one that is made or updated; returns what went wrong."""
    found = cloud()
    if request_type == "Delete":
        return drain(found, PATIENCE_SECONDS)
    # The table outlives its stack, with the mark that the drain left in it.
    found.runs.open_stack(found.now())
    return ""


def _answer(event: dict[str, Any], problem: str) -> None:
    document = {
        "Status": "FAILED" if problem else "SUCCESS",
        "Reason": problem[:1000] or "drained",
        "PhysicalResourceId": event.get("PhysicalResourceId") or "drain",
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    url = event["ResponseURL"]
    if not url.startswith(("https://", "http://")):
        raise ValueError("ResponseURL: expected an HTTP address")
    # The address is CloudFormation's own, checked above to be HTTP.
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": ""}, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=30):  # noqa: S310
        logger.info("answered CloudFormation", extra={"status": document["Status"]})
