"""The template as a whole: idle cost zero, valid, deployable anywhere. Runs under pytest, offline."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
IDLE_FREE = json.loads((Path(__file__).parent / "idle_free_types.json").read_text())


def test_nothing_in_the_stack_costs_anything_while_idle(stack):
    costly = {name: r["Type"] for name, r in stack.template["Resources"].items() if r["Type"] not in IDLE_FREE}

    assert costly == {}, "add the type to idle_free_types.json only with the page that says it costs nothing while idle"


def test_every_type_called_free_has_its_source_and_is_used(stack):
    assert all(source.startswith("https://") for source in IDLE_FREE.values())
    assert {r["Type"] for r in stack.template["Resources"].values()} == set(IDLE_FREE)


def test_what_can_cost_by_configuration_is_configured_free(stack):
    assert stack.only("AWS::EC2::VPCEndpoint")["VpcEndpointType"] == "Gateway"
    assert stack.only("AWS::DynamoDB::Table")["BillingMode"] == "PAY_PER_REQUEST"
    assert "ProvisionedConcurrencyConfig" not in json.dumps(stack.template)
    assert stack.only("AWS::StepFunctions::StateMachine").get("StateMachineType", "STANDARD") == "STANDARD"


def test_the_outputs_are_what_people_and_tools_need(stack):
    resources = stack.template["Resources"]
    outputs = {name: out["Value"] for name, out in stack.template["Outputs"].items()}
    assert float(outputs.pop("MonthlyBudgetUsd")) == 50
    assert outputs.pop("MachineRoleId")["Fn::GetAtt"][1] == "RoleId"
    subnets = outputs.pop("SubnetIds")["Fn::Join"][1]
    assert {resources[one["Ref"]]["Type"] for one in subnets} == {"AWS::EC2::Subnet"}
    types = {name: resources[value["Ref"]]["Type"] for name, value in outputs.items()}

    assert types == {
        "StateMachineArn": "AWS::StepFunctions::StateMachine",
        "BucketName": "AWS::S3::Bucket",
        "RunsTableName": "AWS::DynamoDB::Table",
        "LaunchTemplateId": "AWS::EC2::LaunchTemplate",
    }


def test_the_template_names_no_account_and_no_zone(stack):
    text = json.dumps(stack.template)

    assert "123456789012" not in text
    assert "us-east-1" not in text
    assert set(stack.template.get("Parameters", {})) == {"BootstrapVersion"}


def test_everything_that_can_carry_the_project_s_tag_does(stack):
    for kind in ("AWS::EC2::VPC", "AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::Lambda::Function", "AWS::IAM::Role"):
        for name, resource in stack.of_type(kind).items():
            assert {"Key": "Project", "Value": "ChronosTraining"} in resource["Properties"]["Tags"], name


def test_no_asset_is_built_by_docker(stack):
    assets = json.loads((stack.folder / "ChronosTraining.assets.json").read_text())

    assert assets["dockerImages"] == {}
    assert {file["source"]["packaging"] for file in assets["files"].values()} == {"zip", "file"}


def test_synthesis_needs_no_lookup(stack):
    manifest = json.loads((stack.folder / "manifest.json").read_text())

    assert not manifest.get("missing")


def test_the_deletion_of_the_stack_begins_with_the_drain(stack):
    drain = stack.template["Resources"][next(iter(stack.of_type("Custom::Drain")))]
    needed = {stack.template["Resources"][name]["Type"] for name in drain["DependsOn"]}

    # What it depends on is deleted after it: machines' network and template, the state machine, what starts runs.
    assert needed >= {
        "AWS::EC2::Subnet", "AWS::EC2::SecurityGroup", "AWS::EC2::LaunchTemplate", "AWS::Lambda::Function",
        "AWS::StepFunctions::StateMachine", "AWS::Events::Rule", "AWS::Scheduler::ScheduleGroup",
    }  # fmt: skip
    assert (
        int(drain["Properties"]["ServiceTimeout"])
        > stack.named("AWS::Lambda::Function", "DrainStack")["Properties"]["Timeout"]
    )


def test_the_drain_keeps_its_permissions_until_it_has_run(stack):
    drain = stack.template["Resources"][next(iter(stack.of_type("Custom::Drain")))]
    function_id = drain["Properties"]["ServiceToken"]["Fn::GetAtt"][0]
    function = stack.template["Resources"][function_id]
    policies = [name for name in stack.of_type("AWS::IAM::Policy") if "DrainStack" in name]

    # A policy is no part of its role: without this order CloudFormation may delete it first.
    assert policies
    assert set(policies) <= set(function["DependsOn"]) | set(drain["DependsOn"])


@pytest.mark.slow
def test_cfn_lint_finds_no_fault(stack):
    template = stack.folder / "ChronosTraining.template.json"
    command = [str(Path(sys.executable).parent / "cfn-lint"), "--ignore-checks", "W3005", "--", str(template)]

    checked = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr
