"""Network and launch template: nothing inbound, nothing that outlives the instance. Runs under pytest, offline."""


def _template_data(stack):
    return stack.only("AWS::EC2::LaunchTemplate")["LaunchTemplateData"]


def test_no_security_group_lets_anything_in(stack):
    for name, group in stack.of_type("AWS::EC2::SecurityGroup").items():
        assert "SecurityGroupIngress" not in group["Properties"], name
    assert stack.of_type("AWS::EC2::SecurityGroupIngress") == {}


def test_there_is_no_nat_and_no_private_way_out_that_costs(stack):
    types = {r["Type"] for r in stack.template["Resources"].values()}

    assert not types & {"AWS::EC2::NatGateway", "AWS::EC2::EIP", "AWS::EC2::TransitGateway"}


def test_every_subnet_is_public_and_reaches_s3_without_leaving_aws(stack):
    subnets = stack.of_type("AWS::EC2::Subnet")

    assert len(subnets) >= 2
    assert all(s["Properties"]["MapPublicIpOnLaunch"] is True for s in subnets.values())
    endpoint = stack.only("AWS::EC2::VPCEndpoint")
    assert stack.fill(endpoint["ServiceName"]) == "com.amazonaws.us-east-1.s3"
    assert len(endpoint["RouteTableIds"]) == len(subnets)


def test_the_instance_ends_when_it_shuts_down_and_takes_its_disk_along(stack):
    data = _template_data(stack)

    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    (disk,) = data["BlockDeviceMappings"]
    assert disk["Ebs"] == {"DeleteOnTermination": True, "Encrypted": True, "VolumeSize": 100, "VolumeType": "gp3"}


def test_the_instance_s_metadata_needs_a_session_and_shows_its_tags(stack):
    options = _template_data(stack)["MetadataOptions"]

    assert options["HttpTokens"] == "required"
    assert options["InstanceMetadataTags"] == "enabled"
    assert options["HttpPutResponseHopLimit"] == 1


def test_type_and_image_are_the_gpu_machine_s(stack):
    data = _template_data(stack)

    assert data["InstanceType"] == "g4dn.2xlarge"
    assert data["ImageId"] == (
        "resolve:ssm:/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
    )
    assert "KeyName" not in data


def test_user_data_fits_ec2_s_limit_once_filled_in(stack):
    text = stack.fill(_template_data(stack)["UserData"]["Fn::Base64"])

    assert len(text.encode()) < 16 * 1024
    assert text.startswith("#!/bin/bash\n")
    assert "CODE_URL='s3://cdk-hnb659fds-assets-123456789012-us-east-1/" in text
    assert "BUCKET='chronostraining-storagebucket-example'" in text
    assert "@@" not in text.replace("@@NAMES@@", "")


def test_user_data_is_the_same_for_every_launch(stack):
    text = stack.fill(_template_data(stack)["UserData"]["Fn::Base64"])

    # A client token is bound to the parameters of its call: no run, no attempt and no time may be written into them.
    assert "20261123" not in text


def test_the_instance_may_touch_its_data_and_nothing_else(stack):
    policy = stack.named("AWS::IAM::Policy", "ComputeRoleDefaultPolicy")["Properties"]["PolicyDocument"]
    vpc = stack.fill({"Ref": next(iter(stack.of_type("AWS::EC2::VPC")))})
    may = {}
    for statement in policy["Statement"]:
        assert statement["Condition"]["StringEquals"] == {"aws:SourceVpc": {"Ref": vpc}}
        for action in _listed(statement["Action"]):
            for resource in _listed(statement["Resource"]):
                may.setdefault(action, set()).add(stack.fill(resource).partition("/")[2])

    written = {"phase1/*/machines/${aws:userid}/*"}
    read = {
        *written, "phase1/*/machines/*/checkpoints/*", "phase1/*/manifest.json", "datasets/*", "cached-models/*",
        "cached-datasets/python-env/*",
    }  # fmt: skip
    assert set(may) == {"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"}
    assert may["s3:PutObject"] == written | {"cached-datasets/python-env/*"}
    assert may["s3:AbortMultipartUpload"] == written
    (code,) = may["s3:GetObject"] - read
    assert code.endswith(".zip")
    assert read < may["s3:GetObject"]


def _listed(value):
    return value if isinstance(value, list) else [value]
