"""Which events reach which function: the samples in events/ against the deployed rules. Runs under pytest, offline."""

import json
from pathlib import Path

import pytest
from moto.events.models import EventPattern

EVENTS = Path(__file__).parent.parent.parent / "events"
# Event to the rule that takes it; None for those that must reach nobody.
EXPECTED = {
    "s3_state_written": "StateWritten",
    "s3_state_written_duplicate": "StateWritten",
    # The rule's pattern is coarse: the function looks at the key again and ignores this one.
    "s3_state_key_of_no_run": "StateWritten",
    "s3_state_in_another_bucket": None,
    # The controller's own copy of the last report.
    "s3_state_published": None,
    "s3_request_uploaded": "RequestUploaded",
    "s3_request_uploaded_duplicate": "RequestUploaded",
    "s3_request_uploaded_again": "RequestUploaded",
    # A note beside a request must not start the function again.
    "s3_request_rejected_note": None,
    "s3_request_started_note": None,
    "s3_dataset_uploaded": None,
    "ec2_instance_running": None,
    "ec2_instance_stopped": "InstanceLost",
    "ec2_instance_shutting_down": "InstanceLost",
    "ec2_instance_terminated": "InstanceLost",
    "ec2_spot_interruption_warning": "SpotWarned",
    "stepfunctions_execution_running": None,
    "stepfunctions_execution_succeeded": "ExecutionEnded",
    "stepfunctions_execution_failed": "ExecutionEnded",
    "stepfunctions_execution_aborted": "ExecutionEnded",
    "stepfunctions_execution_timed_out": "ExecutionEnded",
}
TARGETS = {
    "StateWritten": "ObserveState",
    "RequestUploaded": "StartFromUpload",
    "ExecutionEnded": "SweepRun",
    "InstanceLost": "ObserveInstance",
    "SpotWarned": "ObserveInstance",
}


@pytest.fixture(scope="module")
def rules(stack):
    """Return {name: filled event pattern} of the deployed rules."""
    found = {}
    for logical_id, rule in stack.of_type("AWS::Events::Rule").items():
        (name,) = [name for name in TARGETS if name in logical_id]
        found[name] = stack.fill(rule["Properties"]["EventPattern"])
    return found


def _matching(rules, happened):
    return [
        name for name, pattern in rules.items() if EventPattern(json.dumps(pattern), pattern).matches_event(happened)
    ]


@pytest.mark.parametrize(("name", "rule"), EXPECTED.items())
def test_an_event_reaches_its_rule_and_no_other(rules, event, name, rule):
    assert _matching(rules, event(name)) == ([rule] if rule else [])


def test_every_sample_of_a_bus_event_is_expected_somewhere():
    on_the_bus = {path.stem for path in EVENTS.glob("*.json") if "detail-type" in json.loads(path.read_text())}

    assert on_the_bus == set(EXPECTED)


def test_every_rule_is_there_enabled_and_calls_its_function(stack):
    rules = stack.of_type("AWS::Events::Rule")
    assert len(rules) == len(TARGETS)
    for logical_id, rule in rules.items():
        (name,) = [name for name in TARGETS if name in logical_id]
        (target,) = rule["Properties"]["Targets"]
        assert TARGETS[name] in target["Arn"]["Fn::GetAtt"][0]
        assert rule["Properties"]["State"] == "ENABLED"
        assert "ScheduleExpression" not in rule["Properties"]


def test_eventbridge_may_call_each_function_only_for_its_rule(stack):
    permissions = stack.of_type("AWS::Lambda::Permission").values()

    assert len(permissions) == len(TARGETS)
    for permission in permissions:
        assert permission["Properties"]["Principal"] == "events.amazonaws.com"
        assert permission["Properties"]["SourceArn"]["Fn::GetAtt"][0] in stack.of_type("AWS::Events::Rule")


def test_the_dead_man_schedules_call_the_sweep_with_the_input_of_the_sample(stack, event):
    function = stack.named("AWS::Lambda::Function", "FunctionsAcceptRun")["Properties"]["Environment"]["Variables"]
    sweep = stack.named("AWS::Lambda::Function", "FunctionsSweepRun")["Properties"]

    assert "SweepRun" in function["SWEEP_FUNCTION_ARN"]["Fn::GetAtt"][0]
    assert sweep["FunctionName"] == "ChronosTraining-sweep-run"
    assert stack.fill(sweep["Environment"]["Variables"]["SWEEP_FUNCTION_ARN"]).endswith(
        ":function:ChronosTraining-sweep-run"
    )
    assert function["SCHEDULE_GROUP"] == stack.only("AWS::Scheduler::ScheduleGroup")["Name"]
    assert event("dead_man_switch")["source"] == "dead_man"
