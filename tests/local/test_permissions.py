"""IAM on the embedded cloud: policies are enforced, every check is kept, and AWS's questions are asked."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from ministack.core import iam_actions
from ministack.core.iam_evaluator import EvalContext, parse_policy_document

from local import policy_variables
from local.authorization import Authorization, Check
from local.cloud import LocalCloud
from local.deployment import client

pytestmark = pytest.mark.emulator

TRUST = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
MAY = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/a/*"}
OWN = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::bucket/own/${aws:userid}/*"}
ONLY_ONE = {
    "Effect": "Allow",
    "Action": "ec2:TerminateInstances",
    "Resource": "*",
    "Condition": {"StringEquals": {"aws:ResourceTag/Project": "ours"}},
}
SCHEDULE = "arn:aws:scheduler:us-east-1:000000000000:schedule"


@pytest.fixture(scope="module")
def enforcing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    cloud = LocalCloud(tmp_path_factory.mktemp("enforcing"))
    cloud.start(enforce_iam=True)
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def limited(enforcing: LocalCloud) -> Any:
    """A way to make clients of a role that may read one prefix and terminate what one project owns."""
    root = enforcing.credentials()
    iam = client(root, "iam")
    iam.create_role(RoleName="limited", AssumeRolePolicyDocument=_policy(TRUST))
    iam.put_role_policy(RoleName="limited", PolicyName="p", PolicyDocument=_policy(MAY, OWN, ONLY_ONE))
    client(root, "s3").create_bucket(Bucket="bucket")
    client(root, "s3").put_object(Bucket="bucket", Key="a/one", Body=b"1")
    arn = "arn:aws:iam::000000000000:role/limited"
    given = client(root, "sts").assume_role(RoleArn=arn, RoleSessionName="tester")["Credentials"]

    def made(service: str, secret: str = given["SecretAccessKey"]) -> Any:
        return boto3.client(
            service,
            endpoint_url=enforcing.credentials()["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=secret,
            aws_session_token=given["SessionToken"],
        )

    return made


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def _kept(cloud: LocalCloud) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cloud.folder.permissions.read_text().splitlines()]


def test_what_a_role_may_not_is_refused_and_both_are_on_record(enforcing: LocalCloud, limited: Any) -> None:
    assert limited("s3").get_object(Bucket="bucket", Key="a/one")["Body"].read() == b"1"
    with pytest.raises(ClientError, match="AccessDenied"):
        limited("s3").put_object(Bucket="bucket", Key="a/one", Body=b"2")

    told = {(k["principal"].split("/")[1], k["action"], k["resource"], k["allowed"]) for k in _kept(enforcing)}
    assert ("limited", "s3:GetObject", "arn:aws:s3:::bucket/a/one", True) in told
    assert ("limited", "s3:PutObject", "arn:aws:s3:::bucket/a/one", False) in told


def test_an_instance_is_terminated_only_with_the_tag_that_the_policy_asks_for(
    enforcing: LocalCloud, limited: Any
) -> None:
    ec2 = client(enforcing.credentials(), "ec2")
    instances = {}
    for project in ("ours", "another"):
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Project", "Value": project}]}]
        launched = ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, TagSpecifications=tags)
        instances[project] = launched["Instances"][0]["InstanceId"]

    limited("ec2").terminate_instances(InstanceIds=[instances["ours"]])
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        limited("ec2").terminate_instances(InstanceIds=[instances["another"]])


def test_a_variable_in_a_resource_stands_for_the_caller(limited: Any) -> None:
    caller = limited("sts").get_caller_identity()["UserId"]
    assert caller.endswith(":tester")
    limited("s3").put_object(Bucket="bucket", Key=f"own/{caller}/one", Body=b"1")

    for folder in (f"{caller}x", "AROAEXAMPLE:tester", "${aws:userid}", "*", ""):
        with pytest.raises(ClientError, match="AccessDenied"):
            limited("s3").put_object(Bucket="bucket", Key=f"own/{folder}/one", Body=b"1")


@pytest.mark.parametrize(("caller", "fits"), [("AROA1:i-1", True), ("AROA1:i-2", False), ("*", False), ("", False)])
def test_a_variable_without_a_plain_value_matches_nothing(caller: str, fits: bool) -> None:
    statements = parse_policy_document({"Version": "2012-10-17", "Statement": [OWN]})
    asked = EvalContext("arn", "AssumedRole", "1", OWN["Action"], "arn:aws:s3:::bucket/own/AROA1:i-1/x", "us-east-1")
    asked.principal_keys = {"aws:userid": caller}

    assert (policy_variables.first_match(asked, statements, "Allow") is not None) is fits
    assert policy_variables._first_match(asked, statements, "Allow") is None, (
        "MiniStack has caught up: the piece can go"
    )


def test_a_wrong_signature_is_refused(limited: Any) -> None:
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        limited("s3", secret="not-the-secret").get_object(Bucket="bucket", Key="a/one")


def test_a_schedule_is_checked_in_its_group_and_with_the_role_that_it_is_given() -> None:
    asked = Check("scheduler:CreateSchedule", f"{SCHEDULE}/default/one")
    body = json.dumps({"GroupName": "dead-men", "Target": {"RoleArn": "arn:aws:iam::1:role/r"}}).encode()

    assert Authorization(lambda _: "").checks(asked, body, {}) == [
        Check("scheduler:CreateSchedule", f"{SCHEDULE}/dead-men/one"),
        Check("iam:PassRole", "arn:aws:iam::1:role/r", {"iam:PassedToService": "scheduler.amazonaws.com"}),
    ]


def test_a_token_is_settled_for_its_state_machine() -> None:
    asked = Check("states:SendTaskSuccess", "*")

    (check,) = Authorization(lambda token: f"machine of {token}").checks(asked, b'{"taskToken": "t"}', {})

    assert check.resource == "machine of t"


def test_ministack_itself_still_leaves_the_group_out() -> None:
    """When this fails, MiniStack has caught up and `scheduled` can go in part."""
    request = ("scheduler", "GET", "/schedules/one", {}, b"", {"groupName": ["dead-men"]}, "us-east-1", "000000000000")

    assert iam_actions.extract_resource_arn(*request) == f"{SCHEDULE}/default/one"
