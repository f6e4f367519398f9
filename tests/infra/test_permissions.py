"""Who may do what: no wildcard actions, launches and deletions bound to the project. Runs under pytest, offline."""

import json

import pytest

_SPOT_PRICE = "ec2:DescribeSpotPriceHistory"


def _listed(value):
    return value if isinstance(value, list) else [value]


@pytest.fixture(scope="module")
def statements(stack):
    """Return (policy's name, actions, filled resources, condition) of every Allow statement of the stack's roles."""
    return [
        (name, _listed(s["Action"]), [stack.fill(r) for r in _listed(s["Resource"])], s.get("Condition", {}))
        for name, policy in stack.of_type("AWS::IAM::Policy").items()
        for s in policy["Properties"]["PolicyDocument"]["Statement"]
        if s["Effect"] == "Allow"
    ]


def _with(statements, action):
    found = [entry for entry in statements if action in entry[1]]
    assert found, f"nobody may {action}"
    return found


def test_no_action_is_given_by_wildcard(statements):
    assert [(name, a) for name, actions, _, _ in statements for a in actions if "*" in a] == []


def test_there_is_no_inline_or_managed_policy_beside(stack):
    for name, role in stack.of_type("AWS::IAM::Role").items():
        assert "Policies" not in role["Properties"], name
        assert not role["Properties"].get("ManagedPolicyArns"), name


def test_every_role_is_for_one_service_of_aws(stack):
    services = {"lambda.amazonaws.com", "ec2.amazonaws.com", "states.amazonaws.com", "scheduler.amazonaws.com"}
    for name, role in stack.of_type("AWS::IAM::Role").items():
        for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
            assert statement["Principal"]["Service"] in services, name


def test_only_the_launch_function_launches(statements):
    assert {name for name, *_ in _with(statements, "ec2:RunInstances")} == {
        name for name, *_ in statements if "LaunchInstance" in name
    }
    assert not any("ec2:CreateFleet" in actions or "ec2:StartInstances" in actions for _, actions, _, _ in statements)


def test_only_the_launch_function_asks_what_spot_costs(statements):
    for name, actions, resources, condition in _with(statements, _SPOT_PRICE):
        assert "LaunchInstance" in name
        assert set(actions) <= {"ec2:DescribeInstances", _SPOT_PRICE}
        assert (resources, condition) == (["*"], {})


def test_an_instance_is_launched_only_with_tag_template_and_imdsv2(stack, statements):
    on_instance = [e for e in _with(statements, "ec2:RunInstances") if any(":instance/" in r for r in e[2])]

    ((_, _, resources, condition),) = on_instance
    assert resources == ["arn:aws:ec2:us-east-1:123456789012:instance/*"]
    assert condition["StringEquals"] == {
        "aws:RequestTag/Project": "ChronosTraining", "ec2:MetadataHttpTokens": "required",
    }  # fmt: skip
    template = stack.fill(condition["ArnEquals"]["ec2:LaunchTemplate"])
    assert ":launch-template/ComputeLaunchTemplate" in template


def test_what_a_launch_creates_must_carry_the_tag_and_what_it_uses_is_the_stack_s(statements):
    for _, _, resources, condition in _with(statements, "ec2:RunInstances"):
        for resource in resources:
            kind = resource.split(":")[-1].split("/")[0]
            if kind in ("volume", "network-interface", "spot-instances-request"):
                assert condition["StringEquals"] == {"aws:RequestTag/Project": "ChronosTraining"}
            else:
                assert "ec2:LaunchTemplate" in condition["ArnEquals"]
            if kind in ("subnet", "security-group", "launch-template"):
                assert not resource.endswith("/*")


def test_tags_are_written_only_by_the_launch_itself(statements):
    for _, _, _, condition in _with(statements, "ec2:CreateTags"):
        assert condition == {"StringEquals": {"ec2:CreateAction": "RunInstances"}}


@pytest.mark.parametrize(
    "action", ["ec2:TerminateInstances", "ec2:DeleteVolume", "ec2:DeleteNetworkInterface", "ec2:GetConsoleOutput"]
)
def test_only_what_carries_the_project_s_tag_is_deleted_or_read(statements, action):
    for name, _, _, condition in _with(statements, action):
        assert condition == {"StringEquals": {"aws:ResourceTag/Project": "ChronosTraining"}}, name


def test_roles_are_handed_over_one_by_one_to_one_service(statements):
    for name, _, resources, condition in _with(statements, "iam:PassRole"):
        (resource,) = resources
        service = condition["StringEquals"]["iam:PassedToService"]
        assert service == ("ec2.amazonaws.com" if "LaunchInstance" in name else "scheduler.amazonaws.com")
        assert resource.startswith("ComputeRole" if service.startswith("ec2") else "WorkflowSchedulerRole")


def test_the_scheduler_may_call_only_the_sweep(statements):
    ((_, actions, resources, _),) = [entry for entry in statements if entry[0].startswith("WorkflowSchedulerRole")]

    assert actions == ["lambda:InvokeFunction"]
    assert all("SweepRun" in resource for resource in resources)


def test_an_upload_s_function_may_call_only_the_one_that_notes_its_failures(statements):
    ((_, actions, resources, _),) = [
        entry for entry in _with(statements, "lambda:InvokeFunction") if "StartFromUploadRole" in entry[0]
    ]

    assert actions == ["lambda:InvokeFunction"]
    assert len(resources) == 1
    assert "FunctionsNoteLostUpload" in resources[0]
    assert "*" not in resources[0]


def test_the_state_machine_may_call_only_its_six_functions(statements):
    ((_, actions, resources, _),) = [entry for entry in statements if entry[0].startswith("WorkflowStateMachineRole")]

    assert actions == ["lambda:InvokeFunction"]
    assert len(resources) == 6
    assert not any(name in str(resources) for name in ("SweepRun", "DrainStack", "StartFromUpload"))


def test_waiting_states_are_settled_and_executions_stopped_only_of_this_state_machine(statements):
    for action in (
        "states:SendTaskSuccess", "states:StartExecution", "states:StopExecution", "states:ListExecutions",
        "states:GetExecutionHistory",
    ):  # fmt: skip
        for _, _, resources, _ in _with(statements, action):
            assert all("ChronosTraining-training" in resource for resource in resources)


@pytest.mark.parametrize(
    ("function", "needed"),
    [
        ("AcceptRun", {"dynamodb:PutItem", "dynamodb:ConditionCheckItem", "scheduler:CreateSchedule"}),
        ("AcceptRun", {"servicequotas:GetServiceQuota", "s3:PutObject"}),
        ("LaunchInstance", {"ec2:RunInstances", "ec2:TerminateInstances", "ssm:GetParameters", _SPOT_PRICE}),
        ("AwaitTraining", {"dynamodb:UpdateItem", "s3:GetObject", "states:SendTaskSuccess"}),
        ("CollectOutcome", {"s3:GetObject", "s3:PutObject", "ec2:GetConsoleOutput"}),
        ("Cleanup", {"ec2:TerminateInstances", "scheduler:CreateSchedule", "s3:PutObject"}),
        ("RecordRun", {"dynamodb:UpdateItem", "dynamodb:Query", "s3:PutObject", "states:GetExecutionHistory"}),
        ("SweepRun", {"states:StopExecution", "ec2:TerminateInstances", "scheduler:UpdateSchedule", "s3:PutObject"}),
        ("ObserveState", {"states:SendTaskHeartbeat", "dynamodb:UpdateItem", "s3:GetObject"}),
        ("ObserveInstance", {"ec2:DescribeInstances", "states:SendTaskFailure"}),
        ("StartFromUpload", {"states:StartExecution", "s3:GetObject", "s3:PutObject", "lambda:InvokeFunction"}),
        ("NoteLostUpload", {"s3:GetObject", "s3:PutObject"}),
        ("DrainStack", {"states:StopExecution", "states:ListExecutions", "ec2:TerminateInstances"}),
    ],
)  # fmt: skip
def test_every_function_may_do_what_it_does(statements, function, needed):
    allowed = {a for name, actions, _, _ in statements if f"{function}Role" in name for a in actions}

    assert needed <= allowed


def test_a_registered_run_is_never_deleted_from_the_table(stack):
    assert "dynamodb:DeleteItem" not in json.dumps(stack.template)
    assert "s3:DeleteObject" not in json.dumps(stack.template)
