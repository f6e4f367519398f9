"""What the roles are allowed and a run needs: nothing more without a reason. Runs with pytest."""

import json
from collections import defaultdict
from typing import Any

import pytest

from tests.e2e.conftest import recorded
from tests.e2e.runner import Runner

pytestmark = [pytest.mark.emulator, pytest.mark.slow]

NOT_ASKED = "the embedded cloud does not ask IAM for it"
ABSENT = "lets S3 say 404 for an absent object, which it says only to who may list; not asked by the embedded cloud"
EARLY = "settles a token when the report came before it (tests/lambdas/test_launch_instance.py, test_await_training)"
LEFT = "what EC2 does not delete with the instance (tests/lambdas/test_cleanup.py)"
REARM = "arms the dead-man schedule again while anything is left (tests/lambdas/test_sweep_run.py)"
LATE = "a report that no event brought (tests/lambdas/test_collect_outcome.py)"
UNANSWERED = "tells a machine whose launch is not on record yet (tests/lambdas/test_observe_state.py)"
AFTER = "comes with the end of the run, maybe after this test has looked"
UPLOAD = "an upload in parts that failed (tests/instance/test_object_transfers.py)"
STOPPED = "ends what is under way when the workflow was stopped (tests/e2e/test_faults.py)"
# Of every allowed action that a run without trouble may not use: the roles that have it, and why they do.
ELSEWHERE = {
    "logs:CreateLogStream": ("*", NOT_ASKED),
    "logs:PutLogEvents": ("*", NOT_ASKED),
    "lambda:InvokeFunction": ("SchedulerRole StateMachineRole StartFromUpload SweepRun", NOT_ASKED),
    "servicequotas:GetServiceQuota": ("AcceptRun", NOT_ASKED),
    "iam:CreateServiceLinkedRole": ("LaunchInstance", "the first spot launch of an account; " + NOT_ASKED),
    "s3:ListBucket": ("*", ABSENT),
    "s3:AbortMultipartUpload": ("ComputeRole", UPLOAD),
    "states:SendTaskSuccess": ("LaunchInstance AwaitTraining ObserveInstance", EARLY),
    "states:SendTaskFailure": ("LaunchInstance AwaitTraining ObserveState ObserveInstance", EARLY),
    "states:SendTaskHeartbeat": ("LaunchInstance AwaitTraining ObserveState ObserveInstance", EARLY),
    "states:StopExecution": ("SweepRun", STOPPED),
    "states:GetExecutionHistory": ("SweepRun", AFTER),
    "states:StartExecution": ("StartFromUpload", "a request that was uploaded (tests/e2e/test_runs.py)"),
    "ec2:TerminateInstances": ("LaunchInstance AwaitTraining Cleanup SweepRun", "an instance that does not end itself"),
    "ec2:GetConsoleOutput": (
        "Cleanup CollectOutcome SweepRun",
        "evidence of an attempt that failed (tests/e2e/test_runs.py)",
    ),
    "ec2:DescribeInstances": (
        "CollectOutcome ObserveState ObserveInstance SweepRun",
        f"{AFTER}, or {UNANSWERED}, or what became of one that fell silent",
    ),
    "s3:PutObjectTagging": ("CollectOutcome", NOT_ASKED),
    "dynamodb:ConditionCheckItem": ("StartFromUpload", "the claim of an upload (tests/e2e/test_runs.py)"),
    "ec2:DescribeSpotPriceHistory": ("LaunchInstance", "a run on spot (tests/e2e/test_runs.py)"),
    "ec2:DeleteVolume": ("Cleanup SweepRun", LEFT),
    "ec2:DeleteNetworkInterface": ("Cleanup SweepRun", LEFT),
    "scheduler:CreateSchedule": ("Cleanup SweepRun RearmSweep", REARM),
    "scheduler:UpdateSchedule": ("AcceptRun Cleanup SweepRun RearmSweep", REARM),
    "scheduler:GetSchedule": ("SweepRun", REARM),
    "scheduler:DeleteSchedule": ("SweepRun", STOPPED),
    "iam:PassRole": ("Cleanup SweepRun RearmSweep", REARM),
    "dynamodb:UpdateItem": ("CollectOutcome ObserveInstance SweepRun", LATE),
    "dynamodb:GetItem": ("ObserveInstance SweepRun StartFromUpload", f"{AFTER}, or an upload"),
    "dynamodb:Query": ("SweepRun", STOPPED),
    "s3:GetObject": (
        "Cleanup ObserveInstance StartFromUpload NoteLostUpload SweepRun",
        "a loss, an upload, its note, a stopped run",
    ),
    "s3:PutObject": ("StartFromUpload NoteLostUpload SweepRun", "a note, the receipt of a stopped run"),
    "dynamodb:PutItem": ("StartFromUpload", "the claim of an upload (tests/e2e/test_runs.py)"),
    **dict.fromkeys(
        [f"ec2:Describe{k}" for k in ("Volumes", "NetworkInterfaces", "Snapshots", "NatGateways", "Addresses")],
        ("SweepRun", STOPPED),
    ),
}


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _allowed(runner: Runner) -> dict[str, tuple[str, set[str]]]:
    """Return by name of a deployed role: its logical id, and the actions that the deployed template allows it."""
    template = json.loads((runner.cloud.folder.assembly / "ChronosTraining.template.json").read_text())
    stack = runner.client("cloudformation").describe_stack_resources(StackName="ChronosTraining")["StackResources"]
    names = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in stack}
    allowed: dict[str, tuple[str, set[str]]] = {}
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::IAM::Policy":
            role = resource["Properties"]["Roles"][0]["Ref"]
            statements = resource["Properties"]["PolicyDocument"]["Statement"]
            allowed[names[role]] = (role, {action for s in statements for action in _listed(s["Action"])})
    return allowed


def _excused(role: str, action: str) -> bool:
    roles, _ = ELSEWHERE.get(action, ("", ""))
    # Used only when the stack is deleted: tests/e2e/test_stack.py.
    return "DrainStack" in role or roles == "*" or any(part in role for part in roles.split())


def test_a_run_uses_all_that_its_roles_allow_but_what_has_a_reason(runner: Runner) -> None:
    ended = runner.run({"dataset": "small", "models": ["ChronosZeroShot", "AutoETS"]})
    assert ended.status == "SUCCEEDED"
    used = defaultdict(set)
    for check in recorded(runner.cloud):
        used[check["principal"].split("/")[1]].add(check["action"])
    allowed = _allowed(runner)

    assert len(allowed) == 16
    assert set(used) <= set(allowed), "a role without a policy of its own was used"
    idle = {
        (role, action)
        for name, (role, actions) in allowed.items()
        for action in actions - used[name]
        if not _excused(role, action)
    }
    assert idle == set(), "allowed, not used by a run and without a reason: remove it from infra/permissions.py"


def test_every_reason_is_for_something_that_is_allowed(runner: Runner) -> None:
    allowed = _allowed(runner).values()
    for action, (roles, why) in ELSEWHERE.items():
        assert why
        for part in roles.replace("*", "Role").split():
            assert any(part in role and action in actions for role, actions in allowed), (action, part)
