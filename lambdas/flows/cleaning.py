"""Delete what a run has left until nothing is, and write the receipt. Runs in Lambda."""

import time
from dataclasses import replace

from contracts import layout
from contracts.documents import Document, dump
from lambdas.adapters.clients import AwsUnavailable
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.telemetry import logger
from lambdas.core import denials
from lambdas.core.acceptance import iso
from lambdas.core.inventory import Inventory, Resource, plan, receipt, supersedes, unseen_launches
from lambdas.core.records import RunRecord

POLL_SECONDS = 2.0
REARM_SECONDS = 600
SIGNING_TRIES = 5
ACCEPTED = ("requested", "already gone", "deleted")


def clean(cloud: Cloud, record: RunRecord, checked_by: str, patience_seconds: float) -> Document:
    """Delete by tag until the inventory is empty or patience ends; write and return cleanup_status.json.

    The dead-man schedule is the last to go: as long as anything is left, it stays armed.
    """
    actions: list[Document] = []
    patient_until = time.monotonic() + patience_seconds
    while True:
        looked_at = cloud.now()
        inventory = find(cloud, record)
        asked = {action["resource"] for action in actions if action["result"] in ACCEPTED}
        todo = [resource for resource in plan(inventory) if resource.resource_id not in asked]
        done = [_delete(cloud, resource) for resource in todo]
        actions += done
        if inventory.empty or _refused_for_good(inventory, asked, done) or time.monotonic() > patient_until:
            break
        # What was refused, or throttled, is not asked for again without a pause.
        if not any(action["result"] in ACCEPTED for action in done):
            time.sleep(POLL_SECONDS)
    return _sign(cloud, record, receipt(record.run_id, checked_by, iso(looked_at), inventory, actions))


def _refused_for_good(inventory: Inventory, asked: set[str], done: list[Document]) -> bool:
    """Return whether a permission is missing for all that was asked, and nothing else goes on.

    A call a moment later would be refused, too: the next round, or the next sweep, is soon enough.
    """
    going_on = inventory.unseen or any(resource.resource_id in asked for resource in inventory.resources)
    return bool(done) and not going_on and all(denials.refused(action["result"]) for action in done)


def find(cloud: Cloud, record: RunRecord) -> Inventory:
    """Return the inventory of a run, its schedule and its launches in flight included."""
    inventory = cloud.compute.inventory(record.run_id)
    seen = {r.resource_id for r in inventory.resources if r.kind == "instances"} | inventory.terminated
    schedules = tuple(Resource("schedules", name, "armed") for name in cloud.schedules.armed(record.run_id))
    return replace(
        inventory, resources=inventory.resources + schedules, unseen=unseen_launches(record, seen, cloud.now())
    )


def _delete(cloud: Cloud, resource: Resource) -> Document:
    if resource.kind == "schedules":
        action, result = "disarm", cloud.schedules.disarm(resource.resource_id)
    else:
        action, result = "delete", cloud.compute.delete(resource)
    logger.info("cleanup", extra={"resource": resource.resource_id, "kind": resource.kind, "result": result})
    name = f"{resource.kind}/{resource.resource_id}" if resource.kind == "schedules" else resource.resource_id
    return {"at": iso(cloud.now()), "action": action, "resource": name, "result": result}


def _sign(cloud: Cloud, record: RunRecord, document: Document) -> Document:
    """Write the receipt, unless there is one of a later look; returns what was found by this one."""
    key, content = record.prefix + layout.CLEANUP_STATUS, dump("cleanup_status", document)
    for _ in range(SIGNING_TRIES):
        signed, etag = cloud.objects.versioned("cleanup_status", key)
        if not supersedes(document, signed):
            logger.info("there is a later receipt", extra={"checked_by": signed["checked_by"] if signed else ""})
            return document
        if cloud.objects.replace(key, content, etag):
            return document
    raise AwsUnavailable(f"{key}: expected to write the receipt, found another writer {SIGNING_TRIES} times in a row.")
