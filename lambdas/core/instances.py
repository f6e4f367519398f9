"""What EC2 says of an instance: whose it is, its state and why it has that state. Runs in Lambda; pure."""

from dataclasses import dataclass
from typing import Any, Literal

from contracts import layout
from lambdas.core.records import Attempt

Ended = Literal["by itself", "by spot", "by AWS", "from outside"]

ALIVE = ("pending", "running", "stopping", "stopped", "shutting-down")
ENDING = "shutting-down"
TERMINATED = "terminated"
GONE = (ENDING, TERMINATED, "stopping", "stopped")

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
_OWN_SHUTDOWN = "Client.InstanceInitiatedShutdown"
_SPOT = "Server.Spot"
_SERVER = "Server."


@dataclass(frozen=True)
class Instance:
    """An instance as DescribeInstances shows it; `reason` is the code of its StateReason, "" while it has none.

    `project` and `run_id` are those of its tags, "" without them; `attempt` is made of what EC2 and its tags tell.
    """

    instance_id: str
    state: str
    reason: str
    project: str
    run_id: str
    attempt: Attempt


def from_description(instance: dict[str, Any]) -> Instance:
    """Return one of the instances in an answer of DescribeInstances."""
    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
    number = tags.get(layout.TAG_ATTEMPT, "0")
    attempt = Attempt(
        attempt=int(number) if number.isdigit() else 0,
        instance_id=instance["InstanceId"],
        instance_type=instance["InstanceType"],
        market="spot" if instance.get("InstanceLifecycle") == "spot" else "on_demand",
        zone=instance.get("Placement", {}).get("AvailabilityZone", ""),
        launched_at=int(instance["LaunchTime"].timestamp()),
    )
    return Instance(
        instance_id=instance["InstanceId"],
        state=instance["State"]["Name"],
        reason=(instance.get("StateReason") or {}).get("Code", ""),
        project=tags.get(layout.TAG_PROJECT, ""),
        run_id=tags.get(layout.TAG_RUN_ID, ""),
        attempt=attempt,
    )


def ended(reason: str) -> Ended:
    """Return who ended an instance, by the code of its StateReason; without one that is known, somebody outside."""
    if reason == _OWN_SHUTDOWN:
        return "by itself"
    if reason.startswith(_SPOT):
        return "by spot"
    return "by AWS" if reason.startswith(_SERVER) else "from outside"
