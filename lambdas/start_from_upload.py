"""Event: a file was uploaded to requests/. Starts one run with it, however often the event comes. Runs in Lambda."""

import hashlib
import json
from typing import Any

from lambdas.adapters import executions
from lambdas.adapters.cloud import cloud
from lambdas.adapters.telemetry import logger

MAX_REQUEST_BYTES = 64 * 1024


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """Start an execution whose input is the file; a file that is no JSON object gets a note beside it instead."""
    found, uploaded = cloud(), event["detail"]["object"]
    key = uploaded["key"]
    content = found.objects.head(key, MAX_REQUEST_BYTES + 1)
    if content is None:
        logger.info("the request was deleted meanwhile", extra={"key": key[:200]})
        return
    problem = _problem(content)
    if problem:
        found.objects.put(f"{key}.rejected.txt", f"{problem} No run was started.\n".encode(), "text/plain")
        logger.warning("request rejected", extra={"key": key[:200], "problem": problem})
        return
    arn = executions.start(found.settings.state_machine_arn, execution_name(uploaded), content.decode())
    logger.info("run started" if arn else "started before", extra={"key": key[:200], "execution_arn": arn})


def execution_name(uploaded: dict[str, Any]) -> str:
    """Return the name of an upload's execution: the same for each delivery of the event, new for a new upload.

    `sequencer` is unique for a key's write
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html).
    """
    identity = [
        uploaded["key"],
        uploaded.get("sequencer", ""),
        uploaded.get("version-id", ""),
        uploaded.get("etag", ""),
    ]
    return "upload-" + hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:40]


def _problem(content: bytes) -> str:
    if len(content) > MAX_REQUEST_BYTES:
        return f"The request: expected at most {MAX_REQUEST_BYTES} bytes, found more."
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        return f"The request: expected a JSON object such as {{}}, found other content ({error})."
    if not isinstance(document, dict):
        return f"The request: expected a JSON object such as {{}}, found {json.dumps(document)[:60]}."
    return ""
