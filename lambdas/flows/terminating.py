"""What every net does first: arm its next try, then end the machines, before anything else is asked. Runs in Lambda."""

from collections.abc import Callable, Iterable

from contracts.documents import Document
from lambdas.adapters.clients import problem_of
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.telemetry import logger
from lambdas.core.acceptance import iso
from lambdas.core.instances import ALIVE, ENDING
from lambdas.core.inventory import INSTANCES, Tag
from lambdas.core.records import RunRecord

REARM_SECONDS = 600


def arm_next(cloud: Cloud, run_id: str, seconds: int = REARM_SECONDS, fired: str = "") -> None:
    """Let the sweep of a run come in `seconds`, whatever becomes of this call; `fired` is the schedule that made it.

    Best effort, within ten seconds: what ends a machine may not wait for a schedule.
    """
    try:
        cloud.schedules.arm(run_id, cloud.now() + seconds, fired)
    except Exception as error:  # whatever it is, the machine comes next
        logger.warning("could not arm the next try", extra={"problem": problem_of(error)})


def end_instances(cloud: Cloud, tag: Tag, on_record: Callable[[], Iterable[str]]) -> list[Document]:
    """Terminate every living instance with a tag; returns what was asked, as the receipt lists it. Never raises.

    Parameters
    ----------
    cloud : Cloud
    tag : Tag
        All that has to be known of the run.
    on_record : callable
        Gives the ids on record; it is called when EC2 does not say which instances there are.
    """
    try:
        shown = cloud.compute.instances(tag)
        ids = [i.instance_id for i in shown if i.state in ALIVE and i.state != ENDING]
    except Exception as error:  # whatever it is, what is on record can be ended
        logger.warning("EC2 does not show the instances, ending those on record", extra={"problem": problem_of(error)})
        ids = list(_listed(on_record))
    return [asked(cloud, "delete", instance_id, cloud.compute.terminate(instance_id)) for instance_id in ids]


def asked(cloud: Cloud, action: str, resource: str, result: str, kind: str = INSTANCES) -> Document:
    """Return an entry of the receipt's actions, which is logged, too."""
    logger.info("cleanup", extra={"resource": resource, "kind": kind, "result": result})
    return {"at": iso(cloud.now()), "action": action, "resource": resource, "result": result}


def on_record(record: RunRecord | None) -> list[str]:
    """Return the ids of a run's instances that may be alive, as far as they are on record."""
    if record is None:
        return []
    listed = [a.instance_id for a in record.attempts if not a.ended_at]
    return list(dict.fromkeys(filter(None, [*listed, record.instance_id])))


def _listed(on_record: Callable[[], Iterable[str]]) -> Iterable[str]:
    try:
        return on_record()
    except Exception as error:  # whatever it is, the next call looks again
        logger.warning("the record cannot be read either", extra={"problem": problem_of(error)})
        return []
