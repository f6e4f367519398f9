"""RunInstances with launch templates, client tokens and injected lack of capacity."""

import pytest
from botocore.exceptions import ClientError

from local.faults import Faults
from tests.local.bench import Bench

pytestmark = pytest.mark.emulator
SLEEP = "#!/bin/bash\nsleep 60\n"


def tags(*kinds: str, **values: str) -> list[dict]:
    named = [{"Key": key, "Value": value} for key, value in values.items()]
    return [{"ResourceType": kind, "Tags": named} for kind in kinds]


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def test_template_is_honoured_and_the_request_overrides_it(bench: Bench) -> None:
    volume = {"VolumeSize": 100, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    template = bench.template(
        SLEEP,
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": volume}],
        TagSpecifications=tags("instance", "volume", Project="chronos", RunId="template"),
    )
    overrides = {"InstanceType": "g4dn.xlarge", "TagSpecifications": tags("instance", "volume", RunId="request")}
    instance = bench.instance(bench.run(template, **overrides))
    assert instance["InstanceType"] == "g4dn.xlarge"
    assert instance["ImageId"] == "ami-1"
    assert {tag["Key"]: tag["Value"] for tag in instance["Tags"]} == {"Project": "chronos", "RunId": "request"}
    (disk,) = bench.client("ec2").describe_volumes(
        Filters=[{"Name": "tag:RunId", "Values": ["request"]}],
        VolumeIds=[instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]],
    )["Volumes"]
    assert (disk["Size"], disk["Encrypted"]) == (100, True)
    attribute = bench.client("ec2").describe_instance_attribute(
        InstanceId=instance["InstanceId"], Attribute="instanceInitiatedShutdownBehavior"
    )
    assert attribute["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    bench.client("ec2").terminate_instances(InstanceIds=[instance["InstanceId"]])


def test_zone_follows_the_subnet(bench: Bench) -> None:
    subnet = bench.client("ec2").describe_subnets()["Subnets"][-1]
    instance_id = bench.run(bench.template(SLEEP), SubnetId=subnet["SubnetId"])
    assert bench.instance(instance_id)["Placement"]["AvailabilityZone"] == subnet["AvailabilityZone"]
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_version_that_is_not_there_is_refused(bench: Bench) -> None:
    template = bench.template(SLEEP)
    with pytest.raises(ClientError) as refused:
        bench.client("ec2").run_instances(
            LaunchTemplate={"LaunchTemplateId": template, "Version": "7"}, MinCount=1, MaxCount=1
        )
    assert code_of(refused) == "InvalidLaunchTemplateId.VersionNotFound"


def test_same_token_is_one_instance_and_changed_parameters_are_refused(bench: Bench) -> None:
    template = bench.template(SLEEP)
    first = bench.run(template, ClientToken="run-1-attempt-1")
    assert bench.run(template, ClientToken="run-1-attempt-1") == first
    with pytest.raises(ClientError) as refused:
        bench.run(template, ClientToken="run-1-attempt-1", InstanceType="g4dn.xlarge")
    assert code_of(refused) == "IdempotentParameterMismatch"
    bench.client("ec2").terminate_instances(InstanceIds=[first])


def test_capacity_fault_hits_what_its_pattern_names_only(bench: Bench, faults: Faults) -> None:
    faults.set_capacity({"g4dn.2xlarge/spot": "MaxSpotInstanceCountExceeded", "*/on_demand": "VcpuLimitExceeded"})
    template = bench.template(SLEEP)
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    with pytest.raises(ClientError) as refused:
        bench.run(template, **spot)
    assert code_of(refused) == "MaxSpotInstanceCountExceeded"
    with pytest.raises(ClientError) as refused:
        bench.run(template)
    assert code_of(refused) == "VcpuLimitExceeded"
    instance_id = bench.run(template, InstanceType="g4dn.xlarge", **spot)
    assert bench.instance(instance_id)["InstanceLifecycle"] == "spot"
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_capacity_fault_with_times_ends_by_itself(bench: Bench, faults: Faults) -> None:
    faults.set_capacity({"g4dn.2xlarge": {"error": "VcpuLimitExceeded", "times": 1}})
    template = bench.template(SLEEP)
    with pytest.raises(ClientError):
        bench.run(template)
    bench.client("ec2").terminate_instances(InstanceIds=[bench.run(template)])


def test_a_launch_may_be_made_and_answered_with_an_error(bench: Bench, faults: Faults) -> None:
    faults.set_capacity({"*": {"error": "VcpuLimitExceeded", "times": 1, "made": True}})
    template = bench.template(SLEEP, TagSpecifications=tags("instance", RunId="made"))
    with pytest.raises(ClientError) as refused:
        bench.run(template, ClientToken="made-1")
    assert code_of(refused) == "VcpuLimitExceeded"
    filters = [{"Name": "tag:RunId", "Values": ["made"]}]
    (found,) = bench.client("ec2").describe_instances(Filters=filters)["Reservations"]
    assert found["Instances"][0]["InstanceId"] == bench.run(template, ClientToken="made-1")
    bench.client("ec2").terminate_instances(InstanceIds=[found["Instances"][0]["InstanceId"]])


def test_ministack_still_ignores_template_and_token(plain: Bench) -> None:
    template = plain.template(SLEEP)
    first = plain.run(template, ClientToken="same")
    assert plain.instance(first)["InstanceType"] == "t2.micro"
    assert plain.run(template, ClientToken="same") != first
