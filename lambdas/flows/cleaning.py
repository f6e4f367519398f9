"""Delete what a run has left until nothing is, and write the receipt. Runs in Lambda."""

import time
from collections.abc import Sequence
from dataclasses import replace

from contracts import layout
from contracts.documents import Document, dump
from lambdas.adapters.clients import AWS_ERRORS, AwsUnavailable, problem_of
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.telemetry import logger
from lambdas.core import denials
from lambdas.core.acceptance import iso
from lambdas.core.inventory import (
    GONE,
    INSTANCES,
    SCHEDULES,
    UNKNOWN,
    Inventory,
    of_run,
    plan,
    receipt,
    supersedes,
    unseen_launches,
)
from lambdas.core.records import RunRecord
from lambdas.flows.terminating import asked

POLL_SECONDS = 2.0
# A round of looks that began in time may still take this long, so that its function is not cut off in the middle.
LOOKING_SECONDS = 20.0
SIGNING_TRIES = 5
ACCEPTED = ("requested", "already gone", "deleted")


def clean(
    cloud: Cloud,
    run_id: str,
    record: RunRecord | None,
    checked_by: str,
    patience_seconds: float,
    done: Sequence[Document] = (),
) -> Inventory:
    """Delete by tag until the inventory is empty or patience ends; write cleanup_status.json, return what is left.

    The dead-man schedule is left armed, and the receipt says so: see `disarm`.

    Parameters
    ----------
    cloud : Cloud
    run_id : str
    record : RunRecord or None
        Tells of launches that EC2 may not show yet; tags tell all else.
    checked_by : str
        The net that looks.
    patience_seconds : float
    done : sequence of dict
        What was asked before, as the receipt lists it.
    """
    actions = list(done)
    patient_until = time.monotonic() + patience_seconds
    while True:
        looked_at = cloud.now()
        inventory = find(cloud, run_id, record, patient_until + LOOKING_SECONDS)
        accepted = {action["resource"] for action in actions if action["result"] in ACCEPTED}
        todo = [resource for resource in plan(inventory) if resource.resource_id not in accepted]
        asked_now = [asked(cloud, "delete", r.resource_id, cloud.compute.delete(r), r.kind) for r in todo]
        actions += asked_now
        if _enough(inventory, accepted, asked_now) or time.monotonic() > patient_until:
            break
        # What was refused, or throttled, is not asked for again without a pause.
        if not any(action["result"] in ACCEPTED for action in asked_now):
            time.sleep(POLL_SECONDS)
    inventory = _with_schedules(cloud, run_id, inventory)
    # Of a run that never was there is nothing to say.
    if record or actions or not inventory.empty:
        _sign(cloud, run_id, receipt(run_id, checked_by, iso(looked_at), inventory, actions))
    return inventory


def find(cloud: Cloud, run_id: str, record: RunRecord | None, until: float) -> Inventory:
    """Return the inventory of a run, its launches in flight included; no kind is looked at after `until`."""
    inventory = cloud.compute.inventory(of_run(run_id), until)
    seen = {r.resource_id for r in inventory.resources if r.kind == INSTANCES} | inventory.terminated
    return replace(inventory, unseen=unseen_launches(record, seen, cloud.now()) if record else ())


def disarm(cloud: Cloud, run_id: str, checked_by: str) -> bool:
    """Delete the dead-man schedules of a run whose verdict is on record, and complete its receipt.

    Returns whether none is left. Best effort: one that stays armed finds nothing, and deletes itself.
    """
    results = {name: cloud.schedules.disarm(name) for name in cloud.schedules.names(run_id)}
    left = [name for name, result in results.items() if result not in ACCEPTED]
    try:
        _complete(cloud, run_id, checked_by, results, left)
    except (*AWS_ERRORS, AwsUnavailable) as error:
        logger.warning("the receipt does not say that the schedule is gone", extra={"problem": problem_of(error)})
    return not left


def signed_off(cloud: Cloud, run_id: str) -> bool:
    """Return whether a run's receipt says of every kind that it is gone, the dead-man schedule among them."""
    signed, _ = cloud.objects.versioned("cleanup_status", _receipt_key(run_id))
    return signed is not None and all(entry["state"] == GONE for entry in signed["inventory"].values())


def _complete(cloud: Cloud, run_id: str, checked_by: str, results: dict[str, str], left: list[str]) -> None:
    """Put into the receipt what became of the schedules."""
    signed, _ = cloud.objects.versioned("cleanup_status", _receipt_key(run_id))
    if signed is None or signed["inventory"][SCHEDULES]["state"] == GONE:
        return
    actions = [
        asked(cloud, "disarm", f"{SCHEDULES}/{name}", result, SCHEDULES)
        for name, result in results.items()
        if result != "already gone"
    ]
    state: Document = (
        {"state": UNKNOWN, "left": [], "problem": ", ".join(left)} if left else {"state": GONE, "left": []}
    )
    kinds = {**signed["inventory"], SCHEDULES: state}
    gone = all(entry["state"] == GONE for entry in kinds.values())
    now = iso(cloud.now())
    told = {"checked_at": now, "checked_by": checked_by, "inventory": kinds, "everything_gone": gone}
    _sign(cloud, run_id, {**signed, **told, "actions": [*signed["actions"], *actions]})


def _enough(inventory: Inventory, accepted: set[str], asked_now: list[Document]) -> bool:
    """Return whether to look again would change nothing: nothing is left, or all that is left was refused for good.

    A kind that cannot be looked at, or a deletion for which a permission is missing, is as it is a moment later, too:
    the next round, or the next sweep, is soon enough.
    """
    if not inventory.known:
        return True
    going_on = inventory.unseen or any(resource.resource_id in accepted for resource in inventory.resources)
    return bool(asked_now) and not going_on and all(denials.refused(action["result"]) for action in asked_now)


def _with_schedules(cloud: Cloud, run_id: str, inventory: Inventory) -> Inventory:
    try:
        return replace(inventory, schedules=tuple(cloud.schedules.armed(run_id)))
    except Exception as error:  # whatever it is, the receipt says that it is unknown
        return replace(inventory, unknown={**inventory.unknown, SCHEDULES: problem_of(error)})


def _sign(cloud: Cloud, run_id: str, document: Document) -> None:
    """Write the receipt, unless there is one of a later look."""
    key, content = _receipt_key(run_id), dump("cleanup_status", document)
    for _ in range(SIGNING_TRIES):
        signed, etag = cloud.objects.versioned("cleanup_status", key)
        if not supersedes(document, signed):
            logger.info("there is a later receipt", extra={"checked_by": signed["checked_by"] if signed else ""})
            return
        if cloud.objects.replace(key, content, etag):
            return
    raise AwsUnavailable(f"{key}: expected to write the receipt, found another writer {SIGNING_TRIES} times in a row.")


def _receipt_key(run_id: str) -> str:
    return layout.run_prefix(run_id) + layout.CLEANUP_STATUS
