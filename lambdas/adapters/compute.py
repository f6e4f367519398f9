"""EC2: launch from the template, find and delete by tag, read the console. Runs in Lambda."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from contracts import layout
from lambdas.adapters.clients import client, error_code, error_message
from lambdas.adapters.telemetry import logger
from lambdas.core.inventory import Inventory, Resource
from lambdas.core.ladder import NO_ANSWER, Rung
from lambdas.core.records import Attempt

# EC2 answers a lack of capacity with HTTP 500, which boto3 repeats: the next rung is the better try.
LAUNCH_TRIES = 2
# The instance is there and its id not yet on record: what it costs may not take long to find out.
PRICE_TRIES = 2
PRICE_SECONDS = 3
PRICES_LOOKED_AT = 10
_ALIVE = ("pending", "running", "stopping", "stopped", "shutting-down")


class LaunchFailed(Exception):
    """EC2 refused a rung; `code` is its error code, NO_ANSWER when none came: the instance may exist then."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Launched:
    """A new instance."""

    instance_id: str
    zone: str


class Compute:
    """The instances of one project (the stack's name, in the Project tag) and all they own."""

    def __init__(self, project: str, launch_template_id: str) -> None:
        self._project = project
        self._launch_template_id = launch_template_id

    def launch(self, rung: Rung, token: str, tags: dict[str, str]) -> Launched:
        """Launch one instance for a rung; the same token gives the same instance. Raises LaunchFailed."""
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        owned = ["instance", "volume", "network-interface"]
        options: dict[str, Any] = {}
        if rung.market == "spot":
            options["InstanceMarketOptions"] = {
                "MarketType": "spot",
                "SpotOptions": {
                    "SpotInstanceType": "one-time",
                    "InstanceInterruptionBehavior": "terminate",
                    # Without it EC2 stops at the on-demand price.
                    **({"MaxPrice": f"{rung.max_usd_per_hour:.6f}"} if rung.max_usd_per_hour else {}),
                },
            }
            owned.append("spot-instances-request")
        try:
            answer = client("ec2", LAUNCH_TRIES).run_instances(
                MinCount=1,
                MaxCount=1,
                ClientToken=token,
                LaunchTemplate={"LaunchTemplateId": self._launch_template_id, "Version": "$Latest"},
                InstanceType=rung.instance_type,
                SubnetId=rung.subnet_id,
                TagSpecifications=[{"ResourceType": kind, "Tags": listed} for kind in owned],
                **options,
            )
        except ClientError as error:
            raise LaunchFailed(error_code(error), error_message(error)) from error
        except BotoCoreError as error:
            raise LaunchFailed(NO_ANSWER, str(error)[:500]) from error
        instance = answer["Instances"][0]
        return Launched(instance["InstanceId"], instance.get("Placement", {}).get("AvailabilityZone", ""))

    def spot_usd_per_hour(self, instance_type: str, zone: str, at: int) -> float | None:
        """Return what EC2 asks for an hour of a spot instance in a zone at a time not past (epoch seconds), USD.

        Best effort: None, and a line in the log, when EC2 refuses, throttles, does not answer or names no price.
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html
        """
        try:
            answer = client("ec2", PRICE_TRIES, PRICE_SECONDS).describe_spot_price_history(
                InstanceTypes=[instance_type],
                ProductDescriptions=["Linux/UNIX"],
                AvailabilityZone=zone,
                StartTime=datetime.fromtimestamp(at, UTC),
                MaxResults=PRICES_LOOKED_AT,
            )
            return _newest_usd(answer["SpotPriceHistory"], instance_type, zone)
        except Exception as error:  # whatever it is, the instance is there and its launch may not fail for its price
            problem = f"{type(error).__name__}: {error}"[:300]
            logger.warning(
                "EC2 named no spot price, so that of the price list counts",
                extra={"instance_type": instance_type, "zone": zone, "problem": problem},
            )
            return None

    def run_of_instance(self, instance_id: str) -> tuple[str, int] | None:
        """Return run id and attempt of an instance of this project; None when it is not ours or no longer known."""
        for instance in self._described(instance_id):
            tags = _tags(instance)
            if tags.get(layout.TAG_PROJECT) == self._project and layout.TAG_RUN_ID in tags:
                return tags[layout.TAG_RUN_ID], int(tags.get(layout.TAG_ATTEMPT, "0"))
        return None

    def state_of(self, instance_id: str) -> str:
        """Return the state of an instance, "" when EC2 does not know it."""
        return "".join(instance["State"]["Name"] for instance in self._described(instance_id))

    def inventory(self, run_id: str | None) -> Inventory:
        """Return all that carries the tags of a run (of any run when None), and the instances already terminated."""
        instances = list(self._paged("describe_instances", "Reservations", self._filters(run_id)))
        flat = [instance for reservation in instances for instance in reservation["Instances"]]
        alive = [
            Resource("instances", i["InstanceId"], i["State"]["Name"]) for i in flat if i["State"]["Name"] in _ALIVE
        ]
        ended = frozenset(i["InstanceId"] for i in flat if i["State"]["Name"] == "terminated")
        return Inventory(tuple(alive + self._attached(run_id)), terminated=ended)

    def alive(self, run_id: str) -> list[Attempt]:
        """Return the living instances of a run, each as the attempt that its tags tell."""
        return self.launched(run_id, _ALIVE)

    def launched(self, run_id: str, states: tuple[str, ...] = (*_ALIVE, "terminated")) -> list[Attempt]:
        """Return the instances of a run that EC2 still shows, for about an hour after their end; see `alive`."""
        pages = self._paged("describe_instances", "Reservations", self._filters(run_id))
        return [
            _attempt(instance)
            for reservation in pages
            for instance in reservation["Instances"]
            if instance["State"]["Name"] in states
        ]

    def delete(self, resource: Resource) -> str:
        """Delete a resource; returns what came of it. What is already gone is as good as deleted."""
        ec2, name = client("ec2"), resource.resource_id
        calls = {
            "instances": lambda: ec2.terminate_instances(InstanceIds=[name]),
            "volumes": lambda: ec2.delete_volume(VolumeId=name),
            "network_interfaces": lambda: ec2.delete_network_interface(NetworkInterfaceId=name),
        }
        if resource.kind not in calls:
            return "left to its owner"
        try:
            calls[resource.kind]()
        except ClientError as error:
            code = error_code(error)
            return "already gone" if "NotFound" in code else f"refused: {code}"
        return "requested"

    def terminate(self, instance_id: str) -> str:
        """Terminate an instance; see `delete`."""
        return self.delete(Resource("instances", instance_id, ""))

    def console(self, instance_id: str) -> bytes:
        """Return the end of an instance's console output (botocore decodes it), b"" when EC2 has none."""
        # Without Latest, EC2 gives what the console held shortly after the last change of state: the boot, not the end.
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html
        return self._console(instance_id, Latest=True) or self._console(instance_id)

    @staticmethod
    def _console(instance_id: str, **options: Any) -> bytes:
        try:
            return str(client("ec2").get_console_output(InstanceId=instance_id, **options).get("Output", "")).encode()
        except ClientError:
            return b""

    @staticmethod
    def _described(instance_id: str) -> list[dict[str, Any]]:
        try:
            answer = client("ec2").describe_instances(InstanceIds=[instance_id])
        except ClientError as error:
            if error_code(error).startswith("InvalidInstanceID"):
                return []
            raise
        return [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]

    def _attached(self, run_id: str | None) -> list[Resource]:
        filters = self._filters(run_id)
        found = [
            Resource("volumes", v["VolumeId"], v["State"], v["State"] == "available")
            for v in self._paged("describe_volumes", "Volumes", filters)
            if v["State"] not in ("deleting", "deleted")
        ]
        found += [
            Resource("network_interfaces", n["NetworkInterfaceId"], n["Status"], n["Status"] == "available")
            for n in self._paged("describe_network_interfaces", "NetworkInterfaces", filters)
        ]
        found += [
            Resource("snapshots_in_progress", s["SnapshotId"], s["State"], False)
            for s in self._paged("describe_snapshots", "Snapshots", filters, OwnerIds=["self"])
            if s["State"] == "pending"
        ]
        found += [
            Resource("nat_gateways", g["NatGatewayId"], g["State"], False)
            for g in self._paged("describe_nat_gateways", "NatGateways", filters)
            if g["State"] not in ("deleted", "failed")
        ]
        addresses = client("ec2").describe_addresses(Filters=filters)["Addresses"]
        return found + [Resource("addresses", a.get("AllocationId", ""), "allocated", False) for a in addresses]

    def _filters(self, run_id: str | None) -> list[dict[str, Any]]:
        filters = [{"Name": f"tag:{layout.TAG_PROJECT}", "Values": [self._project]}]
        if run_id is None:
            return [*filters, {"Name": "tag-key", "Values": [layout.TAG_RUN_ID]}]
        return [*filters, {"Name": f"tag:{layout.TAG_RUN_ID}", "Values": [run_id]}]

    @staticmethod
    def _paged(operation: str, field: str, filters: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
        pages = client("ec2").get_paginator(operation).paginate(Filters=filters, **more)
        return [item for page in pages for item in page.get(field, [])]


def _newest_usd(history: list[dict[str, Any]], instance_type: str, zone: str) -> float:
    """Return the newest price of a type in a zone; raises ValueError unless there is one."""
    found = [one for one in history if (one["InstanceType"], one["AvailabilityZone"]) == (instance_type, zone)]
    if not found:
        raise ValueError(
            f"SpotPriceHistory: expected a price of {instance_type} in {zone}, found {len(history)} others"
        )
    usd = float(max(found, key=lambda one: one["Timestamp"])["SpotPrice"])
    if not 0 < usd < math.inf:
        raise ValueError(f"SpotPrice: expected a positive number of USD for {instance_type} in {zone}, found {usd}")
    return usd


def _attempt(instance: dict[str, Any]) -> Attempt:
    return Attempt(
        attempt=int(_tags(instance).get(layout.TAG_ATTEMPT, "0")),
        instance_id=instance["InstanceId"],
        instance_type=instance["InstanceType"],
        market="spot" if instance.get("InstanceLifecycle") == "spot" else "on_demand",
        zone=instance.get("Placement", {}).get("AvailabilityZone", ""),
        launched_at=int(instance["LaunchTime"].timestamp()),
    )


def _tags(resource: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}
