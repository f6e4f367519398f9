"""An independent look at what a run has left, by tag, with none of the controller's code. Runs in a worker."""

import contextlib
from typing import Any

_GONE = {"terminated", "deleted", "released"}


def schedules(arena: Any, run_id: str, arn: str = "") -> list[dict[str, Any]]:
    """Return the schedules of a run: those of its name, and those whose target is told of it or of its execution."""
    scheduler = arena.client("scheduler")
    found = []
    for listed in scheduler.list_schedules()["Schedules"]:
        # One that fires meanwhile is gone.
        with contextlib.suppress(scheduler.exceptions.ResourceNotFoundException):
            armed = scheduler.get_schedule(Name=listed["Name"], GroupName=listed["GroupName"])
            told = str(armed["Target"].get("Input", ""))
            if armed["Name"].startswith(run_id) or run_id in told or (arn and arn in told):
                found.append(armed)
    return found


def leftovers(arena: Any, run_id: str, arn: str = "", armed: bool = True) -> list[str]:
    """Return everything billable of a run, and its schedules unless told otherwise, as `kind id state`."""
    ec2 = arena.client("ec2")
    tag = {"Filters": [{"Name": "tag:RunId", "Values": [run_id]}]}
    found = [
        ("instance", i["InstanceId"], i["State"]["Name"])
        for reservation in ec2.describe_instances(**tag)["Reservations"]
        for i in reservation["Instances"]
    ]
    found += [("volume", v["VolumeId"], v["State"]) for v in ec2.describe_volumes(**tag)["Volumes"]]
    found += [
        ("interface", n["NetworkInterfaceId"], n["Status"])
        for n in ec2.describe_network_interfaces(**tag)["NetworkInterfaces"]
    ]
    found += [("address", a["AllocationId"], "allocated") for a in ec2.describe_addresses(**tag)["Addresses"]]
    nat = ec2.describe_nat_gateways(Filter=tag["Filters"])["NatGateways"]
    found += [("NAT gateway", n["NatGatewayId"], n["State"]) for n in nat]
    snapshots = ec2.describe_snapshots(OwnerIds=["self"], **tag)["Snapshots"]
    found += [("snapshot", s["SnapshotId"], s["State"]) for s in snapshots if s["State"] != "completed"]
    if armed:
        found += [("schedule", s["Name"], "armed") for s in schedules(arena, run_id, arn)]
    return [" ".join(item) for item in found if item[2] not in _GONE]
