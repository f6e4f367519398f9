"""Quotas, filters, public parameters and schedules: what the Lambdas ask for."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from local.faults import Faults
from local.public_images import IMAGE, NAME
from tests.local.bench import ROLE, Bench
from tests.waiting import until

pytestmark = pytest.mark.emulator


def quota(bench: Bench, code: str) -> float:
    return bench.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]


def interface(bench: Bench, run_id: str) -> str:
    ec2 = bench.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    made = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.create_tags(Resources=[made], Tags=[{"Key": "RunId", "Value": run_id}])
    return made


def interfaces(bench: Bench, run_id: str) -> list[str]:
    filters = [{"Name": "tag:RunId", "Values": [run_id]}]
    found = bench.client("ec2").describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
    return [one["NetworkInterfaceId"] for one in found]


def test_types_are_offered_in_the_zones_of_subnets(bench: Bench) -> None:
    ec2 = bench.client("ec2")
    zones = {subnet["AvailabilityZone"] for subnet in ec2.describe_subnets()["Subnets"]}
    wanted = [{"Name": "instance-type", "Values": ["g4dn.2xlarge", "p5.48xlarge"]}]
    answer = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=wanted)
    offered = {(one["InstanceType"], one["Location"]) for one in answer["InstanceTypeOfferings"]}
    assert offered == {("g4dn.2xlarge", zone) for zone in zones}
    assert zones
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        ec2.describe_instance_type_offerings(Filters=wanted)


def test_quota_has_a_default_and_can_be_set(bench: Bench, faults: Faults) -> None:
    assert quota(bench, "L-DB2E81BA") == 64.0
    faults.set_quotas({"L-DB2E81BA": 0})
    assert quota(bench, "L-DB2E81BA") == 0.0
    assert quota(bench, "L-3819A6DF") == 64.0


def test_unknown_quota_is_refused(bench: Bench) -> None:
    with pytest.raises(ClientError) as refused:
        quota(bench, "L-00000000")
    assert refused.value.response["Error"]["Code"] == "NoSuchResourceException"


def test_network_interfaces_are_found_by_tag(bench: Bench) -> None:
    mine, _ = interface(bench, "mine"), interface(bench, "other")
    assert interfaces(bench, "mine") == [mine]


@pytest.mark.parametrize("action", ["describe_instances", "describe_network_interfaces"])
def test_unknown_filter_is_refused(bench: Bench, action: str) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(bench.client("ec2"), action)(Filters=[{"Name": "colour", "Values": ["red"]}])
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValue"


def test_instances_are_found_by_tag_and_state(bench: Bench) -> None:
    named = [{"ResourceType": "instance", "Tags": [{"Key": "RunId", "Value": "find-me"}]}]
    instance_id = bench.run(bench.template(""), TagSpecifications=named)
    bench.run(bench.template(""))
    states = {"Name": "instance-state-name", "Values": ["pending", "running"]}
    tag = {"Name": "tag:RunId", "Values": ["find-*"]}
    found = bench.client("ec2").describe_instances(Filters=[states, tag])["Reservations"]
    assert [one["Instances"][0]["InstanceId"] for one in found] == [instance_id]
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])
    bench.await_state(instance_id, "terminated")
    assert bench.client("ec2").describe_instances(Filters=[states, tag])["Reservations"] == []


def test_public_image_parameter_is_there(bench: Bench) -> None:
    assert bench.client("ssm").get_parameter(Name=NAME)["Parameter"]["Value"] == IMAGE


def test_one_time_schedule_fires_and_deletes_itself(bench: Bench) -> None:
    source = (
        "import boto3\ndef handler(event, context):\n    boto3.client('s3').create_bucket(Bucket=event['bucket'])\n"
    )
    name = bench.function(source)
    arn = bench.client("lambda").get_function(FunctionName=name)["Configuration"]["FunctionArn"]
    moment = (datetime.now(UTC) + timedelta(seconds=1)).strftime("at(%Y-%m-%dT%H:%M:%S)")
    bench.client("scheduler").create_schedule(
        Name="once",
        ScheduleExpression=moment,
        FlexibleTimeWindow={"Mode": "OFF"},
        ActionAfterCompletion="DELETE",
        Target={"Arn": arn, "RoleArn": ROLE, "Input": json.dumps({"bucket": "fired-by-schedule"})},
    )

    def fired() -> bool:
        return "fired-by-schedule" in [one["Name"] for one in bench.client("s3").list_buckets()["Buckets"]]

    until(fired, seconds=30)
    until(lambda: "once" not in [one["Name"] for one in bench.client("scheduler").list_schedules()["Schedules"]])


def test_ministack_still_lacks_quotas_filters_and_the_image(plain: Bench) -> None:
    with pytest.raises(ClientError, match="GetServiceQuota"):
        quota(plain, "L-DB2E81BA")
    both = {interface(plain, "mine"), interface(plain, "other")}
    assert both <= set(interfaces(plain, "mine"))
    with pytest.raises(ClientError, match="ParameterNotFound"):
        plain.client("ssm").get_parameter(Name=NAME)
