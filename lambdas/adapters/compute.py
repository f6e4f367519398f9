"""EC2: launch from the template, find and delete by tag, read the console. Runs in Lambda."""

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from contracts import layout
from lambdas.adapters.clients import AWS_ERRORS, PATIENT, Pace, client, error_code, error_message, problem_of
from lambdas.adapters.telemetry import logger
from lambdas.core.instances import ALIVE, TERMINATED, Instance, from_description
from lambdas.core.inventory import ANY_RUN, INSTANCES, TAGGED_KINDS, Inventory, Resource, Tag, of_run
from lambdas.core.ladder import NO_ANSWER, Rung
from lambdas.core.records import Attempt

# EC2 answers a lack of capacity with HTTP 500, which boto3 repeats: the next rung is the better try.
LAUNCH_TRIES = 2
# The instance is there and its id not yet on record: what it costs may not take long to find out.
PRICE_TRIES = 2
PRICE_SECONDS = 3
PRICES_LOOKED_AT = 10


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

    def __init__(self, project: str, launch_template_id: str, pace: Pace = PATIENT) -> None:
        self._project = project
        self._launch_template_id = launch_template_id
        self._pace = pace

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

    def instance(self, instance_id: str) -> Instance | None:
        """Return an instance of a run of this project; None when it is not ours or no longer known."""
        try:
            answer = self._ec2().describe_instances(InstanceIds=[instance_id])
        except ClientError as error:
            if error_code(error).startswith("InvalidInstanceID"):
                return None
            raise
        found = [from_description(i) for reservation in answer["Reservations"] for i in reservation["Instances"]]
        return next((i for i in found if i.project == self._project and i.run_id), None)

    def instances(self, tag: Tag) -> list[Instance]:
        """Return every instance with a tag that EC2 still shows, for about an hour after its end."""
        pages = self._paged("describe_instances", "Reservations", self._filters(tag), pace=self._pace)
        return [from_description(i) for reservation in pages for i in reservation["Instances"]]

    def alive(self, run_id: str) -> list[Attempt]:
        """Return the living instances of a run, each as the attempt that its tags tell."""
        return [i.attempt for i in self.instances(of_run(run_id)) if i.state in ALIVE]

    def launched(self, run_id: str) -> list[Attempt]:
        """Return the instances of a run that EC2 still shows; see `alive`."""
        return [i.attempt for i in self.instances(of_run(run_id)) if i.state in (*ALIVE, TERMINATED)]

    def inventory(self, tag: Tag | None = None, until: float = math.inf) -> Inventory:
        """Return all that carries a tag, that of any run when None, each kind looked at on its own.

        A kind that EC2 refuses to show, or that is not looked at before `until` (time.monotonic), is unknown. Whatever
        comes of one look, the others are made.
        """
        resources: list[Resource] = []
        ended: frozenset[str] = frozenset()
        unknown: dict[str, str] = {}
        tag = tag or ANY_RUN
        for kind in TAGGED_KINDS:
            try:
                if time.monotonic() > until:
                    raise TimeoutError("there was no time left to look")
                if kind == INSTANCES:
                    shown = self.instances(tag)
                    resources += [Resource(kind, i.instance_id, i.state) for i in shown if i.state in ALIVE]
                    ended = frozenset(i.instance_id for i in shown if i.state == TERMINATED)
                else:
                    resources += self._others(kind, tag)
            except Exception as error:  # whatever it is, the other kinds are looked at
                unknown[kind] = problem_of(error)
                logger.warning("a kind of resource is unknown", extra={"kind": kind, "problem": unknown[kind]})
        return Inventory(tuple(resources), terminated=ended, unknown=unknown)

    def delete(self, resource: Resource) -> str:
        """Delete a resource; returns what came of it. What is already gone is as good as deleted. Never raises."""
        ec2, name = self._ec2(), resource.resource_id
        calls = {
            INSTANCES: lambda: ec2.terminate_instances(InstanceIds=[name]),
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
        except AWS_ERRORS as error:
            return f"no answer: {problem_of(error)}"
        return "requested"

    def terminate(self, instance_id: str) -> str:
        """Terminate an instance; see `delete`."""
        return self.delete(Resource(INSTANCES, instance_id, ""))

    def console(self, instance_id: str) -> bytes:
        """Return the end of an instance's console output (botocore decodes it), b"" when EC2 has none."""
        # Without Latest, EC2 gives what the console held shortly after the last change of state: the boot, not the end.
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html
        return self._console(instance_id, Latest=True) or self._console(instance_id)

    def _console(self, instance_id: str, **options: Any) -> bytes:
        try:
            return str(self._ec2().get_console_output(InstanceId=instance_id, **options).get("Output", "")).encode()
        except ClientError:
            return b""

    def _others(self, kind: str, tag: Tag) -> list[Resource]:
        """Return what is left of a kind other than instances."""
        filters, pace = self._filters(tag), self._pace
        if kind == "volumes":
            found = self._paged("describe_volumes", "Volumes", filters, pace=pace)
            left = [v for v in found if v["State"] not in ("deleting", "deleted")]
            return [Resource(kind, v["VolumeId"], v["State"], v["State"] == "available") for v in left]
        if kind == "network_interfaces":
            found = self._paged("describe_network_interfaces", "NetworkInterfaces", filters, pace=pace)
            return [Resource(kind, n["NetworkInterfaceId"], n["Status"], n["Status"] == "available") for n in found]
        if kind == "snapshots_in_progress":
            found = self._paged("describe_snapshots", "Snapshots", filters, pace=pace, OwnerIds=["self"])
            return [Resource(kind, s["SnapshotId"], s["State"], False) for s in found if s["State"] == "pending"]
        if kind == "nat_gateways":
            found = self._paged("describe_nat_gateways", "NatGateways", filters, pace=pace)
            left = [g for g in found if g["State"] not in ("deleted", "failed")]
            return [Resource(kind, g["NatGatewayId"], g["State"], False) for g in left]
        found = self._ec2().describe_addresses(Filters=filters)["Addresses"]
        return [Resource(kind, a.get("AllocationId", ""), "allocated", False) for a in found]

    def _ec2(self) -> Any:
        return client("ec2", *self._pace)

    def _filters(self, tag: Tag) -> list[dict[str, Any]]:
        of_project = {"Name": f"tag:{layout.TAG_PROJECT}", "Values": [self._project]}
        if not tag.value:
            return [of_project, {"Name": "tag-key", "Values": [tag.key]}]
        return [of_project, {"Name": f"tag:{tag.key}", "Values": [tag.value]}]

    @staticmethod
    def _paged(
        operation: str, field: str, filters: list[dict[str, Any]], pace: Pace, **more: Any
    ) -> list[dict[str, Any]]:
        pages = client("ec2", *pace).get_paginator(operation).paginate(Filters=filters, **more)
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
