"""What the roles may not do, judged on the synthesized policies by MiniStack's IAM. Runs under pytest, offline."""

import pytest
from ministack.core import iam_evaluator
from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document

from infra.permissions import NO_RESOURCE
from local import policy_variables
from tests.infra.conftest import ACCOUNT, BUCKET_ARN, REGION, TABLE_ARN

RUN = f"{BUCKET_ARN}/phase1/2026/11/23-180000"
OWN, FOREIGN = "AROAEXAMPLE:i-0123456789abcdef0", "AROAEXAMPLE:i-0fedcba9876543210"
FOLDER = f"{RUN}/machines/{OWN}"
STAGED = f"{RUN}/staged/attempt-1/0a"
INSTANCE = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-0123456789abcdef0"
MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:ChronosTraining-training"
OURS, ANOTHER = {"aws:resourcetag/project": "ChronosTraining"}, {"aws:resourcetag/project": "Payroll"}
FUNCTIONS = (
    "AcceptRun", "LaunchInstance", "AwaitTraining", "CollectOutcome", "Cleanup", "RecordRun", "SweepRun",
    "ObserveState", "ObserveInstance", "StartFromUpload", "NoteLostUpload", "DrainStack", "RearmSweep",
)  # fmt: skip
EVERYBODY = ("Compute", "SchedulerRole", "StateMachineRole", *FUNCTIONS)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def may(stack, monkeypatch_module):
    """Return a function: whether the role whose name holds `part` may do an action to a resource in a context."""
    monkeypatch_module.setattr(iam_evaluator, "_first_match", policy_variables.first_match)
    policies = {}
    for name, policy in stack.of_type("AWS::IAM::Policy").items():
        document = stack.fill(policy["Properties"]["PolicyDocument"])
        policies[name] = parse_policy_document(document)
    vpc = stack.fill({"Ref": next(iter(stack.of_type("AWS::EC2::VPC")))})

    def judge(part, action, resource, context=None, inside=True):
        (name,) = [name for name in policies if part in name]
        network = {"aws:sourcevpc": vpc} if inside else {}
        asked = EvalContext(
            principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/session", principal_type="AssumedRole",
            principal_account=ACCOUNT, action=action, resource_arn=resource, region=REGION,
            service_context={**network, **(context or {})}, principal_keys={"aws:userid": OWN},
        )  # fmt: skip
        return evaluate(asked, [policies[name]]).decision == "Allow"

    return judge


def test_the_judge_allows_what_is_needed(may):
    assert may("AcceptRun", "dynamodb:PutItem", TABLE_ARN)
    assert may("RecordRun", "dynamodb:Query", f"{TABLE_ARN}/index/by-time")
    assert may("ObserveState", "states:SendTaskSuccess", MACHINE)
    for function in ("RecordRun", "SweepRun", "DrainStack"):
        for action in ("s3:GetObject", "s3:PutObject"):
            assert may(function, action, f"{BUCKET_ARN}/control_registry.json"), (function, action)
    for action in ("s3:GetObject", "s3:PutObject", "s3:PutObjectTagging"):
        assert may("CollectOutcome", action, f"{STAGED}/forecasts/A.parquet"), action
    for key in ("model_metadata.json", "forecasts/A.parquet", "models/A/model.json"):
        assert may("CollectOutcome", "s3:GetObject", f"{RUN}/{key}"), key
    for key in ("system-state.json", "training.json", "forecasts/A.parquet", "logs/training.log"):
        assert may("Compute", "s3:PutObject", f"{FOLDER}/{key}"), key
        assert may("ObserveState", "s3:GetObject", f"{FOLDER}/{key}"), key
    for key in ("manifest.json", f"machines/{FOREIGN}/checkpoints/A/chunk-00001.safetensors"):
        assert may("Compute", "s3:GetObject", f"{RUN}/{key}"), key
    for key in ("training.json", "model_metadata.json", "forecasts/A.parquet", "logs/attempt-1/training.log"):
        assert may("CollectOutcome", "s3:PutObject", f"{RUN}/{key}"), key
    assert may("Compute", "s3:GetObject", f"{BUCKET_ARN}/datasets/a/data.csv")


@pytest.mark.parametrize("run", [RUN, f"{BUCKET_ARN}/phase1/2026/11/24-090000"])
@pytest.mark.parametrize("key", [
    "system-state.json", "training.json", "model_metadata.json", "forecasts/A.parquet", "models/A/model.json",
    "checkpoints/A/chunk-00001.safetensors", "logs/attempt-1/training.log", f"machines/{FOREIGN}/system-state.json",
    f"machines/{FOREIGN}/checkpoints/A/chunk-00001.safetensors", "machines/system-state.json",
    f"machines/{OWN}x/system-state.json", f"machines/x{OWN}/system-state.json", f"machines/{OWN}",
])  # fmt: skip
def test_the_machine_writes_nothing_that_another_machine_or_the_controller_writes(may, run, key):
    assert not may("Compute", "s3:PutObject", f"{run}/{key}")
    assert not may("Compute", "s3:AbortMultipartUpload", f"{run}/{key}")


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:PutObject", "s3:PutObjectTagging", "s3:AbortMultipartUpload"])
def test_what_is_staged_is_out_of_every_machine_s_reach(may, action):
    for key in (f"{STAGED}/forecasts/A.parquet", f"{RUN}/staged/attempt-1/training.json"):
        assert not may("Compute", action, key), key


@pytest.mark.parametrize("role", EVERYBODY)
def test_a_tag_that_ends_an_object_is_put_on_what_is_staged_and_nowhere_else(may, role):
    for key in ("forecasts/A.parquet", "training.json", f"machines/{OWN}/training.json", "cleanup_status.json"):
        assert not may(role, "s3:PutObjectTagging", f"{RUN}/{key}"), key
    assert may(role, "s3:PutObjectTagging", f"{STAGED}/A") == (role == "CollectOutcome")


def test_the_machine_reads_of_other_machines_their_checkpoints_and_nothing_else(may):
    for key in ("forecasts/A.parquet", "system-state.json", "training.json", "logs/training.log"):
        assert may("Compute", "s3:GetObject", f"{FOLDER}/{key}"), key
        assert not may("Compute", "s3:GetObject", f"{RUN}/machines/{FOREIGN}/{key}"), key
        assert not may("Compute", "s3:GetObject", f"{RUN}/{key}"), key


@pytest.mark.parametrize("key", [
    "phase1/2026/11/23-180000/manifest.json", "phase1/2026/11/23-180000/cleanup_status.json", "control_registry.json",
    "phase1/2026/11/23-180000/anything-else", "datasets/a/data.csv", "requests/run.json", "cached-models/a/config.json",
    "phase1/manifest.json",
])  # fmt: skip
def test_the_machine_cannot_write_what_is_the_controller_s_or_a_person_s(may, key):
    assert not may("Compute", "s3:PutObject", f"{BUCKET_ARN}/{key}")
    assert not may("Compute", "s3:PutObject", f"{BUCKET_ARN}/{key}", {"s3:if-none-match": "*"})


def test_the_machine_can_keep_a_packed_environment_and_never_replace_one(may):
    key = f"{BUCKET_ARN}/cached-datasets/python-env/0.tar.gz"

    assert may("Compute", "s3:PutObject", key, {"s3:if-none-match": "*"})
    assert not may("Compute", "s3:PutObject", key)


@pytest.mark.parametrize("action", [
    "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutObjectAcl", "s3:PutBucketPolicy", "s3:ListBucket",
    "s3:PutObjectTagging", "s3:PutLifecycleConfiguration",
])  # fmt: skip
@pytest.mark.parametrize("resource", [BUCKET_ARN, f"{FOLDER}/forecasts/A.parquet"])
def test_the_machine_cannot_delete_list_or_publish(may, action, resource):
    assert not may("Compute", action, resource)


def test_the_machine_s_credentials_open_nothing_elsewhere(may):
    for action, key in (("s3:PutObject", f"machines/{OWN}/system-state.json"), ("s3:GetObject", "manifest.json")):
        assert may("Compute", action, f"{RUN}/{key}")
        assert not may("Compute", action, f"{RUN}/{key}", inside=False)
        assert not may("Compute", action, f"{RUN}/{key}", {"aws:sourcevpc": "vpc-another"})


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("dynamodb:GetItem", TABLE_ARN), ("dynamodb:UpdateItem", TABLE_ARN),
        ("dynamodb:Query", f"{TABLE_ARN}/index/by-time"),
        ("states:SendTaskSuccess", MACHINE), ("states:SendTaskFailure", MACHINE), ("states:StartExecution", MACHINE),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/ComputeRole"), ("iam:PutRolePolicy", "*"),
        ("sts:AssumeRole", "*"), ("ec2:TerminateInstances", INSTANCE), ("ec2:RunInstances", INSTANCE),
        ("ec2:DescribeInstances", "*"), ("ec2:DescribeSpotPriceHistory", "*"), ("ec2:CreateTags", INSTANCE),
        ("lambda:InvokeFunction", "*"),
        ("ssm:GetParameters", "*"), ("scheduler:UpdateSchedule", "*"), ("logs:PutLogEvents", "*"),
    ],
)  # fmt: skip
def test_the_machine_knows_no_table_no_token_no_role_and_no_other_machine(may, action, resource):
    assert not may("Compute", action, resource, OURS)


@pytest.mark.parametrize("function", ["LaunchInstance", "AwaitTraining", "Cleanup", "SweepRun", "DrainStack"])
def test_only_the_project_s_instances_are_terminated(may, function):
    assert may(function, "ec2:TerminateInstances", INSTANCE, OURS)
    assert not may(function, "ec2:TerminateInstances", INSTANCE, ANOTHER)
    assert not may(function, "ec2:TerminateInstances", INSTANCE)


def test_an_upload_writes_claims_and_notes_and_no_run(may):
    claim, record = ({"dynamodb:leadingkeys": [key]} for key in ("upload#0a1b", "20261123-180000"))
    for action in ("dynamodb:GetItem", "dynamodb:PutItem"):
        assert may("StartFromUploadRole", action, TABLE_ARN, claim)
        assert not may("StartFromUploadRole", action, TABLE_ARN, record)
    for note in ("nightly.json.rejected.txt", "nightly.json.started.txt"):
        assert may("StartFromUploadRole", "s3:PutObject", f"{BUCKET_ARN}/requests/{note}")
    for key in ("requests/nightly.json", "phase1/x.rejected.txt", "datasets/a.csv"):
        assert not may("StartFromUploadRole", "s3:PutObject", f"{BUCKET_ARN}/{key}")
        assert not may("NoteLostUpload", "s3:PutObject", f"{BUCKET_ARN}/{key}")


@pytest.mark.parametrize("kind", ["volume/vol-1", "network-interface/eni-1"])
def test_only_the_project_s_volumes_and_interfaces_are_deleted(may, kind):
    action = {"volume": "ec2:DeleteVolume", "network-interface": "ec2:DeleteNetworkInterface"}[kind.split("/")[0]]
    resource = f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}"

    assert may("SweepRun", action, resource, OURS)
    assert not may("SweepRun", action, resource, ANOTHER)
    assert not may("SweepRun", action, resource)


@pytest.mark.parametrize("role", EVERYBODY)
@pytest.mark.parametrize(
    "action",
    [
        "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:CreateRole", "iam:CreateAccessKey", "sts:AssumeRole",
        "s3:DeleteObject", "s3:PutBucketPolicy", "s3:DeleteBucket", "dynamodb:DeleteItem", "dynamodb:DeleteTable",
        "lambda:UpdateFunctionCode", "states:UpdateStateMachine", "ec2:ModifyInstanceAttribute",
        "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateLaunchTemplateVersion", "ec2:StartInstances",
    ],
)  # fmt: skip
def test_nobody_can_widen_permissions_or_destroy_what_is_kept(may, role, action):
    for resource in (
        "*",
        BUCKET_ARN,
        f"{RUN}/manifest.json",
        TABLE_ARN,
        INSTANCE,
        MACHINE,
        f"arn:aws:iam::{ACCOUNT}:role/r",
    ):
        assert not may(role, action, resource, OURS)


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f != "LaunchInstance"])
def test_only_the_launch_launches_and_asks_for_spot_prices(may, function):
    assert not may(function, "ec2:DescribeSpotPriceHistory", "*")
    assert not may(function, "ec2:RunInstances", INSTANCE, {"ec2:metadatahttptokens": "required", **OURS})


def test_a_launch_without_tag_or_imdsv2_or_from_another_template_is_refused(may, stack):
    template = stack.fill({"Ref": next(iter(stack.of_type("AWS::EC2::LaunchTemplate")))})
    arn = f"arn:aws:ec2:{REGION}:{ACCOUNT}:launch-template/"
    right = {
        "aws:requesttag/project": "ChronosTraining", "ec2:metadatahttptokens": "required",
        "ec2:launchtemplate": arn + template,
    }  # fmt: skip
    wrong = {"aws:requesttag/project": "Payroll", "ec2:metadatahttptokens": "optional", "ec2:launchtemplate": arn + "x"}
    anywhere = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/*"

    assert may("LaunchInstance", "ec2:RunInstances", anywhere, right)
    for key, value in wrong.items():
        assert not may("LaunchInstance", "ec2:RunInstances", anywhere, {**right, key: value}), key
        assert not may("LaunchInstance", "ec2:RunInstances", anywhere, {k: v for k, v in right.items() if k != key})


def test_what_is_allowed_on_everything_has_no_resource_level_in_aws_s_reference(stack):
    for name, policy in stack.of_type("AWS::IAM::Policy").items():
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            if statement["Resource"] == "*" or "*" in statement["Resource"]:
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                assert set(actions) <= set(NO_RESOURCE), name
    assert all(
        source.startswith("https://docs.aws.amazon.com/service-authorization/") for source in NO_RESOURCE.values()
    )
