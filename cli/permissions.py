"""Whether the caller may start and follow runs, as IAM's simulator says. Runs on a person's machine."""

import json
import shlex
from typing import NamedTuple

import boto3
from botocore.exceptions import ClientError

from cli.needs import MISSING, OK, UNKNOWN, Need
from cli.stack import Stack
from contracts import layout
from contracts.documents import Document

POLICY_NAME = "ChronosTrainingCaller"


class Caller(NamedTuple):
    """Who calls: ARN of an IAM user or role, `user` or `role`, its name."""

    arn: str
    kind: str
    name: str


def permissions(request: Document, stack: Stack) -> Need:
    """Ask IAM whether the caller may do what starting and following a run takes.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
    """
    del request
    arn: str = boto3.client("sts").get_caller_identity()["Arn"]
    if arn.endswith(":root"):
        return Need("your permissions", OK, f"{arn} may do everything; a role that may do less is safer")
    try:
        caller = _caller(arn)
        denied = [one for one in allowances(stack) if not _allowed(caller, one)] if caller else []
    except ClientError as error:
        return Need("your permissions", UNKNOWN, f"{arn} may not ask what it may do: {error}")
    if caller is None:
        return Need("your permissions", UNKNOWN, f"IAM cannot simulate {arn}, which is neither a user nor a role")
    if not denied:
        return Need("your permissions", OK, f"{caller.arn} may start, follow and stop runs")
    names = ", ".join(action for one in denied for action in one["Action"])
    return Need("your permissions", MISSING, f"{caller.arn} may not: {names}", _grant(caller, allowances(stack)))


def allowances(stack: Stack) -> list[dict[str, list[str]]]:
    """Return the statements that a person needs to bring data, start runs, and look at them."""
    _, partition, _, region, account, *_ = stack.state_machine_arn.split(":")
    bucket = f"arn:{partition}:s3:::{stack.bucket}"
    table = f"arn:{partition}:dynamodb:{region}:{account}:table/{stack.runs_table}"
    executions = stack.state_machine_arn.replace(":stateMachine:", ":execution:") + ":*"
    return [
        {"Action": ["states:StartExecution"], "Resource": [stack.state_machine_arn]},
        {
            "Action": ["states:DescribeExecution", "states:GetExecutionHistory", "states:StopExecution"],
            "Resource": [executions],
        },
        {"Action": ["s3:ListBucket"], "Resource": [bucket]},
        {"Action": ["s3:PutObject"], "Resource": [f"{bucket}/{layout.DATASETS}*", f"{bucket}/{layout.REQUESTS}*"]},
        {
            "Action": ["s3:GetObject"],
            "Resource": [f"{bucket}/{prefix}*" for prefix in (layout.RUNS, layout.DATASETS, layout.MODEL_WEIGHTS)],
        },
        {"Action": ["dynamodb:GetItem"], "Resource": [table]},
        {"Action": ["dynamodb:Query"], "Resource": [f"{table}/index/*"]},
    ]


def _caller(arn: str) -> Caller | None:
    """Return the user or role behind an ARN of STS; a session's ARN lacks the path of its role."""
    kind, _, rest = arn.split(":", 5)[5].partition("/")
    if kind == "user":
        return Caller(arn, "user", rest.rsplit("/", 1)[-1])
    if kind != "assumed-role":
        return None
    name = rest.split("/", 1)[0]
    return Caller(boto3.client("iam").get_role(RoleName=name)["Role"]["Arn"], "role", name)


def _allowed(caller: Caller, statement: dict[str, list[str]]) -> bool:
    answer = boto3.client("iam").simulate_principal_policy(
        PolicySourceArn=caller.arn, ActionNames=statement["Action"], ResourceArns=statement["Resource"]
    )
    decisions = [
        each["EvalResourceDecision"]
        for result in answer["EvaluationResults"]
        for each in result.get("ResourceSpecificResults") or [{"EvalResourceDecision": result["EvalDecision"]}]
    ]
    return all(decision == "allowed" for decision in decisions)


def _grant(caller: Caller, statements: list[dict[str, list[str]]]) -> str:
    """Return the command that grants every statement: it replaces what an earlier one of the same name granted."""
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **one} for one in statements]}
    return (
        f"aws iam put-{caller.kind}-policy --{caller.kind}-name {shlex.quote(caller.name)} "
        f"--policy-name {POLICY_NAME} --policy-document {shlex.quote(json.dumps(policy))}"
    )
