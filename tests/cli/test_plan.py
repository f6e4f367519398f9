"""What `plan` says when something is missing, refused or unreadable. Runs on moto."""

import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from cli import needs, permissions, plan
from cli.needs import MISSING, OK, UNKNOWN, Need
from cli.stack import Stack
from lambdas.adapters import clients
from lambdas.core.budget import Month

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:ChronosTraining-training"
DATA = "unique_id,ds,y\n" + "".join(f"A,2026-01-{day:02d},{day}.5\n" for day in range(1, 31))
AUTO_ETS = {"models": ["AutoETS"]}


def refused(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "AccessDenied", "Message": "not yours"}}, operation)


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    for name, value in (("DEFAULT_REGION", "us-east-1"), ("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    # moto has no simulator of IAM; tests/e2e/test_plan.py asks MiniStack's.
    monkeypatch.setitem(plan.LOOKS, "your permissions", lambda *_: Need("your permissions", OK, "all"))
    clients.client.cache_clear()
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="bucket")
        subnets = boto3.client("ec2").describe_subnets()["Subnets"]
        _table()
        yield Stack(MACHINE, "bucket", "runs", tuple(one["SubnetId"] for one in subnets), 50.0)
    clients.client.cache_clear()


def _table() -> None:
    boto3.client("dynamodb").create_table(
        TableName="runs",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    spent = Month("unused", version=1, ended_usd=12.5).to_item()
    table = boto3.resource("dynamodb").Table("runs")
    month = needs.month_of(needs.layout.run_id_at(needs.datetime.now(needs.UTC), 1))
    table.put_item(Item={**spent, "id": f"month#{month}"})


def put(key: str, body: str = DATA) -> None:
    boto3.client("s3").put_object(Bucket="bucket", Key=key, Body=body)


def looked_at(document: Any, stack: Stack) -> dict[str, Need]:
    return {need.name: need for need in plan.look(document, stack)}


def test_a_wrong_request_is_the_only_thing_said(stack: Stack) -> None:
    (need,) = plan.look({"modles": ["AutoETS"]}, stack)
    assert need.state == MISSING
    assert "modles" in need.found
    assert "docs/request.md" in need.remedy


def test_an_empty_bucket_lacks_data_and_weights_each_with_its_command(stack: Stack) -> None:
    found = looked_at({}, stack)
    assert found["data set"].remedy == "aws s3 cp my-data.parquet s3://bucket/datasets/my-data/"
    assert found["model weights"].state == MISSING
    assert "s3://bucket/cached-models/chronos-bolt-nano/" in found["model weights"].remedy
    assert found["cost"].state == found["monthly budget"].state == OK


def test_data_are_looked_at_with_the_checks_of_the_controller(stack: Stack) -> None:
    put("datasets/prices/a.csv", "unique_id,ds,y\nA,2026-01-01,1\nA,2026-01-02,many\n")
    found = looked_at({"dataset": "prices", **AUTO_ETS}, stack)["data set"]
    assert found.state == MISSING
    assert "row 2" in found.found
    assert found.remedy.endswith("aws s3 ls --recursive s3://bucket/datasets/")


@pytest.mark.parametrize(
    ("values", "state"),
    [({"spot": 0.0, "on_demand": 8.0}, OK), ({"spot": 4.0, "on_demand": 0.0}, MISSING), ({}, UNKNOWN)],
)
def test_the_quota_of_one_allowed_market_is_enough(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, values: dict[str, float], state: str
) -> None:
    def quota(market: str) -> float:
        if market not in values:
            raise refused("GetServiceQuota")
        return values[market]

    monkeypatch.setattr(needs, "vcpu_quota", quota)
    found = looked_at({"market": "spot_then_on_demand", **AUTO_ETS}, stack)["vCPU quota"]
    assert found.state == state
    assert ("request-service-quota-increase" in found.found) == (state == MISSING)


def test_types_are_looked_up_in_the_zones_of_the_stack(stack: Stack) -> None:
    found = looked_at({"instance_types": ["g4dn.2xlarge"], **AUTO_ETS}, stack)["instance types"]
    assert found.state == OK
    assert "g4dn.2xlarge in us-east-1" in found.found
    earlier = Stack(stack.state_machine_arn, stack.bucket, stack.runs_table)
    found = looked_at(AUTO_ETS, earlier)
    assert found["instance types"].state == found["monthly budget"].state == UNKNOWN
    assert "cdk deploy" in found["monthly budget"].found


def test_types_that_no_zone_offers_are_missing(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(needs.prices()["instance_usd_per_hour"], "g4dn.none", {"on_demand": 1, "spot": 1, "vcpus": 4})
    found = needs.offerings({"instance_types": ["g4dn.none"]}, stack)
    assert found.state == MISSING
    assert "g4dn.none in no zone" in found.found
    assert "aws ec2 describe-instance-type-offerings" in found.remedy


def test_a_region_without_the_image_is_told_where_to_look(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs.layout, "AMI_PARAMETER", "/aws/service/deeplearning/ami/x86_64/base-none")
    found = needs.image({}, stack)
    assert found.state == MISSING
    assert "--path /aws/service/deeplearning/ami/x86_64/ " in found.remedy


def test_a_cap_below_the_estimate_and_a_spent_budget_are_missing(stack: Stack) -> None:
    found = looked_at({"max_cost_usd": 0.5, **AUTO_ETS}, stack)["cost"]
    assert (found.state, '"max_cost_usd"' in found.remedy) == (MISSING, True)
    cap = float(found.remedy.split(": ")[1].split(" ")[0])
    assert looked_at({"max_cost_usd": cap, **AUTO_ETS}, stack)["cost"].state == OK
    spent = Stack(MACHINE, "bucket", "runs", stack.subnet_ids, 13.0)
    found = looked_at(AUTO_ETS, spent)["monthly budget"]
    assert found.state == MISSING
    assert "12.50 USD" in found.found
    assert found.remedy == "cdk deploy -c monthly_budget_usd=15"


def test_what_cannot_be_read_is_not_known_and_the_rest_is_still_looked_at(stack: Stack) -> None:
    boto3.client("dynamodb").delete_table(TableName="runs")
    found = looked_at(AUTO_ETS, stack)
    assert found["monthly budget"].state == UNKNOWN
    assert "ResourceNotFound" in found["monthly budget"].found
    assert found["cost"].state == OK


class Iam:
    """IAM's simulator as documented: a decision for each resource of each action."""

    def __init__(self, denied: set[str]) -> None:
        self.denied = denied
        self.asked: list[str] = []

    def get_caller_identity(self) -> dict[str, str]:
        return {"Arn": "arn:aws:sts::123456789012:assumed-role/Engineer/session"}

    def get_role(self, RoleName: str) -> Any:  # noqa: N803 - boto3's name
        return {"Role": {"Arn": f"arn:aws:iam::123456789012:role/team/{RoleName}"}}

    def simulate_principal_policy(self, **asked: Any) -> Any:
        self.asked.append(asked["PolicySourceArn"])
        decisions = {action: "implicitDeny" if action in self.denied else "allowed" for action in asked["ActionNames"]}
        return {
            "EvaluationResults": [
                {
                    "EvalDecision": "allowed",
                    "ResourceSpecificResults": [{"EvalResourceDecision": decision} for _ in asked["ResourceArns"]],
                }
                for decision in decisions.values()
            ]
        }


def test_a_session_is_judged_by_its_role_and_the_remedy_takes_nothing_away(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam = Iam({"states:StartExecution"})
    monkeypatch.setattr(permissions.boto3, "client", lambda _service: iam)
    need = permissions.permissions({}, stack)
    assert need.state == MISSING
    assert set(iam.asked) == {"arn:aws:iam::123456789012:role/team/Engineer"}
    given = shlex.split(need.remedy)
    assert given[:5] == ["aws", "iam", "put-role-policy", "--role-name", "Engineer"]
    statements = json.loads(given[-1])["Statement"]
    assert {"Effect": "Allow", "Action": ["states:StartExecution"], "Resource": [MACHINE]} in statements
    assert len(statements) == len(permissions.allowances(stack))
    assert "may not: states:StartExecution" in need.found
    assert "dynamodb" not in need.found
    iam.denied.clear()
    assert permissions.permissions({}, stack).state == OK


def test_the_report_ends_with_the_command_that_starts_the_run(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put("datasets/prices/a.csv")
    monkeypatch.setattr(needs, "vcpu_quota", lambda _market: 64.0)
    monkeypatch.setitem(plan.LOOKS, "machine image", lambda *_: Need("machine image", OK, "ami"))
    out = io.StringIO()
    text = json.dumps({"dataset": "prices", **AUTO_ETS})
    assert plan.report(plan.request_of(text), text, stack, out) == 0
    started = shlex.split(out.getvalue().splitlines()[-1])
    assert started[started.index("--state-machine-arn") + 1] == MACHINE
    assert json.loads(started[started.index("--input") + 1]) == json.loads(text)
    # A name: a lost answer, after which the AWS CLI asks again, then starts no second run.
    name = started[started.index("--name") + 1]
    assert re.fullmatch(r"run-\d{8}T\d{6}-[0-9a-f]{6}", name)
    file = tmp_path / "request.json"
    file.write_text(text)
    assert plan.report(plan.request_of(str(file)), str(file), stack, out) == 0
    assert f"--input file://{file}" in out.getvalue()
    assert out.getvalue().count(name) == 1
    assert plan.report({}, "{}", stack, out) == 1
    assert "Not ready: model weights." in out.getvalue()


@pytest.mark.parametrize("source", ["no/such/file.json", "{not json"])
def test_an_unreadable_request_is_named(source: str) -> None:
    with pytest.raises(plan.RequestUnreadable, match="expected a JSON file"):
        plan.request_of(source)
