"""An independent look at what a run has left, by tag, with none of the controller's code. Runs in a worker."""

from typing import Any

_GONE = {"terminated", "deleted", "released"}


def leftovers(arena: Any, run_id: str, schedules: bool = True) -> list[str]:
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
    if schedules:
        named = arena.client("scheduler").list_schedules()["Schedules"]
        found += [("schedule", s["Name"], "armed") for s in named if s["Name"].startswith(run_id)]
    return [" ".join(item) for item in found if item[2] not in _GONE]
