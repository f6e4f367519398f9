"""moto's clouds with its Step Functions interpreter switched on, and a stage on it. Runs under pytest, offline."""

from collections.abc import Iterator

import pytest
from moto import mock_aws
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils

from contracts.documents import Document
from lambdas.adapters import clients, cloud, settings
from lambdas.flows import cleaning
from tests.statemachine import interpreter
from tests.statemachine.functions import Functions
from tests.statemachine.plays import Player, cloudformation
from tests.statemachine.stage import BUCKET, CSV, REGION, ROLE, ROLE_ID, Stage, aws, definition

IMAGE = "ami-0123456789abcdef0"
NAME = "training"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The real state machine and the real handlers; only AWS itself is moto's."""
    environment = {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION,
        "PROJECT": "ChronosTraining", "BUCKET": BUCKET, "RUNS_TABLE": "runs", "SCHEDULE_GROUP": "dead-men",
        "MACHINE_ROLE_ID": ROLE_ID,
        "SCHEDULER_ROLE_ARN": ROLE, "SWEEP_FUNCTION_ARN": "arn:aws:lambda:us-east-1:123456789012:function:sweep",
        "MONTHLY_BUDGET_USD": "10000", "POWERTOOLS_METRICS_NAMESPACE": "ChronosTraining",
        "STATE_MACHINE_ARN": f"arn:aws:states:{REGION}:123456789012:stateMachine:{NAME}",
        # Reading moto's thousand images takes seconds, and no test needs one of them.
        "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(cleaning, "POLL_SECONDS", 0.05)
    functions = Functions()
    monkeypatch.setattr(
        lambda_eval_utils,
        "_invoke_lambda_function",
        lambda parameters, **_: functions.invoke(parameters["FunctionName"], parameters["Payload"]),
    )
    interpreter.correct(monkeypatch)
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        _forget()
        _furnish(monkeypatch)
        functions.install(monkeypatch)
        yield Stage(_machine(), cloud.cloud().runs, functions)
    _forget()


def _forget() -> None:
    clients.client.cache_clear()
    settings.settings.cache_clear()
    aws.cache_clear()


def _furnish(monkeypatch: pytest.MonkeyPatch) -> None:
    s3, ec2 = aws("s3"), aws("ec2")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="datasets/small/data.csv", Body=CSV)
    for name in ("config.json", "model.safetensors"):
        s3.put_object(Bucket=BUCKET, Key=f"cached-models/chronos-bolt-nano/{name}", Body=b"{}")
    key = {"AttributeName": "id", "KeyType": "HASH"}
    by_time = [{"AttributeName": "kind", "KeyType": "HASH"}, {"AttributeName": "run_id", "KeyType": "RANGE"}]
    aws("dynamodb").create_table(
        TableName="runs",
        KeySchema=[key],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("id", "kind", "run_id")],
        GlobalSecondaryIndexes=[
            {"IndexName": "by-time", "KeySchema": by_time, "Projection": {"ProjectionType": "ALL"}}
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    aws("scheduler").create_schedule_group(Name="dead-men")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{i}.0/24")["Subnet"]["SubnetId"] for i in range(2)]
    template = ec2.create_launch_template(
        LaunchTemplateName="training",
        LaunchTemplateData={"ImageId": IMAGE, "InstanceType": "g4dn.2xlarge"},
    )
    monkeypatch.setenv("SUBNET_IDS", ",".join(subnets))
    monkeypatch.setenv("LAUNCH_TEMPLATE_ID", template["LaunchTemplate"]["LaunchTemplateId"])


def _machine() -> str:
    answer = aws("stepfunctions").create_state_machine(name=NAME, definition=definition(), roleArn=ROLE)
    return str(answer["stateMachineArn"])


@pytest.fixture
def player(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Player]:
    """Someone who plays whole runs on the stage, without pauses."""
    interpreter.hurry(monkeypatch)
    answers: list[Document] = []
    with cloudformation(answers) as address:
        yield Player(stage, answers=answers, answer_address=address)
