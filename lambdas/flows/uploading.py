"""From an uploaded request to one run, or to a note beside it that says why there is none. Runs in Lambda."""

from contracts.layout import REJECTED_NOTE, STARTED_NOTE
from contracts.plain import plain
from lambdas.adapters import executions
from lambdas.adapters.clients import PROBLEM_LENGTH
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.executions import StartRefused
from lambdas.adapters.objects import Replaced
from lambdas.adapters.telemetry import logger
from lambdas.adapters.upload_claims import UploadClaims
from lambdas.core import acceptance, upload_request
from lambdas.core.upload_request import MAX_REQUEST_BYTES, Upload, UploadClaim, UploadRefused

NOTE_BYTES = 64 * 1024
NOTE_TRIES = 20


def start(cloud: Cloud, upload: Upload) -> None:
    """Start the run that an upload asks for, once however often this is called; else leave a note.

    What AWS refuses, throttles or leaves unanswered for a while is raised: Lambda repeats the event, and hands it to
    NoteLostUpload when that did not help either.
    """
    try:
        content = cloud.objects.content(upload.key, MAX_REQUEST_BYTES + 1, upload.etag)
    except Replaced:
        _start_replaced(cloud, upload)
        return
    if content is None:
        # By a person, who does not want the run, and no note either.
        logger.info("the request was deleted meanwhile", extra={"key": upload.key[:200]})
        return
    try:
        document = upload_request.execution_input(content[0])
    except UploadRefused as refused:
        _reject(cloud, upload, str(refused))
        return
    mine = UploadClaim(upload.claim_ids, upload.execution, upload.uploaded_at, document)
    _start(cloud, upload, _claims(cloud).claim(mine))


def _start_replaced(cloud: Cloud, upload: Upload) -> None:
    """Start what was claimed before its file was replaced; without a claim nobody knows any more what it asked for."""
    claim = _claims(cloud).of(upload.claim_ids, upload.uploaded_at)
    if claim:
        _start(cloud, upload, claim)
        return
    _reject(
        cloud, upload, "The request: expected the file as it was uploaded, found it replaced before it was read. "
        "The newer one starts a run of its own."
    )  # fmt: skip


def _claims(cloud: Cloud) -> UploadClaims:
    return UploadClaims(cloud.settings.runs_table)


def _start(cloud: Cloud, upload: Upload, claim: UploadClaim) -> None:
    machine = cloud.settings.state_machine_arn
    try:
        arn = executions.start(machine, claim.execution, claim.input)
    except StartRefused as refused:
        _reject(cloud, upload, f"Step Functions refused to start a run: {refused}.")
        return
    logger.info(
        "run started" if arn else "started before", extra={"key": upload.key[:200], "execution": claim.execution}
    )
    if claim.execution != upload.execution:
        _note(
            cloud, upload, STARTED_NOTE,
            f"The same content was uploaded to the same key within {upload_request.UPLOAD_SECONDS} seconds of this, "
            "which is taken for one upload that was repeated. The one run of both is the execution "
            f"{executions.arn_of(machine, claim.execution)} . For another run upload the file again.",
        )  # fmt: skip


def note_lost(cloud: Cloud, upload: Upload, problem: str) -> None:
    """Note that an upload could not be started however often it was tried, as far as is known."""
    arn = executions.arn_of(cloud.settings.state_machine_arn, upload.execution)
    said = plain(problem)[:PROBLEM_LENGTH] or "no reason was given"
    _note(
        cloud, upload, REJECTED_NOTE,
        f"The run could not be started, or it is not known whether it was, however often that was tried: {said} . "
        f"See whether there is one with: aws stepfunctions describe-execution --execution-arn {arn} . "
        "If there is none, upload the file again.",
    )  # fmt: skip
    logger.error("an upload started no run", extra={"key": upload.key[:200], "problem": problem})


def _reject(cloud: Cloud, upload: Upload, problem: str) -> None:
    _note(cloud, upload, REJECTED_NOTE, f"{problem} No run was started.")
    logger.warning("request rejected", extra={"key": upload.key[:200], "problem": problem})


def _note(cloud: Cloud, upload: Upload, ending: str, text: str) -> None:
    """Put a note on top of those that are beside the file already, once however often this is called."""
    of = f"Upload of {acceptance.iso(upload.uploaded_at)}, ETag {upload.etag or 'unknown'}, {upload.execution}:"
    entry = f"{of}\n{text}\n".encode()
    key = upload_request.note_key(upload.key, ending)
    for _ in range(NOTE_TRIES):
        earlier, etag = cloud.objects.content(key, NOTE_BYTES) or (b"", "")
        if entry in earlier:
            return
        whole = entry + (b"\n" + earlier if earlier else b"")
        if cloud.objects.replace(key, whole[:NOTE_BYTES], etag, "text/plain; charset=utf-8"):
            return
    raise RuntimeError(f"{plain(key)[:200]}: expected to write a note, found it written by others {NOTE_TRIES} times.")
