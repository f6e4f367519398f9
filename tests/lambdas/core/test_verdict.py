"""How an attempt ended: the recorded facts decide, never the name of a timeout. Runs under pytest, offline."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.reasons import REASONS
from lambdas.core.verdict import Ending, ending, failed, outcome, verdict_to_record

NOW = 1795456800 + 600
MISSED = {"Error": "States.Timeout", "Cause": ""}


@pytest.mark.parametrize("error", [None, MISSED, {"Error": "InstanceLost", "Cause": "gone"}])
def test_a_completed_report_wins_over_whatever_failed(make_record, error):
    assert ending(make_record(state="completed"), error, NOW).completed


def test_a_reason_that_was_sent_is_the_reason(make_record):
    assert ending(make_record(), {"Error": "NoProgress", "Cause": "stood still"}, NOW) == Ending(
        "NoProgress", "stood still"
    )


def test_the_cause_of_a_failed_function_is_its_message(make_record, event):
    error = event("state_collect_outcome_after_refusal")["state"]

    assert ending(None, error, NOW).code == "RequestInvalid"
    assert ending(None, error, NOW).detail.startswith("modles: expected")


@pytest.mark.parametrize("name", ["States.Timeout", "States.HeartbeatTimeout"])
@pytest.mark.parametrize(
    ("facts", "now", "code", "detail"),
    [
        ({"stage": "boot"}, NOW, "BootTimedOut", "Waited 590 s, allowed 900 s"),
        (
            {"heartbeat_at": NOW - 200, "progress": "training 3/8 windows"},
            NOW,
            "HeartbeatLost",
            "200 s ago, at training 3/8",
        ),
        ({}, NOW, "HeartbeatLost", "never reported"),
        ({"interruption_at": NOW - 130}, NOW, "SpotInterrupted", "Notice 130 s ago"),
        ({"heartbeat_at": NOW}, NOW + 7200, "RunTimedOut", "The limit is 120 minutes"),
        ({"stage": "boot"}, NOW + 7200, "RunTimedOut", "The limit is 120 minutes"),
    ],
)
def test_a_timeout_is_named_by_the_recorded_times_not_by_the_error(make_record, name, facts, now, code, detail):
    end = ending(make_record(**facts), {"Error": name, "Cause": ""}, now)

    assert end.code == code
    assert detail in end.detail


def test_a_terminal_report_explains_a_timeout(make_record):
    failed = make_record(state="failed", error_code="DataSyncFailed", error_message="no object")

    assert ending(failed, MISSED, NOW) == Ending("DataSyncFailed", "no object")
    assert ending(make_record(state="interrupted"), MISSED, NOW).code == "SpotInterrupted"


@pytest.mark.parametrize("name", ["AwsUnavailable", "PermissionMissing"])
def test_a_call_that_aws_never_answered_is_the_reason_unless_the_instance_reported_its_own(make_record, name):
    error = {"Error": name, "Cause": '{"errorMessage": "RunInstances: RequestLimitExceeded"}'}
    failed = make_record(state="failed", error_code="OutOfMemory", error_message="batch 1")

    assert ending(make_record(), error, NOW) == Ending(name, "RunInstances: RequestLimitExceeded")
    assert ending(None, error, NOW).code == name
    assert ending(failed, error, NOW) == Ending("OutOfMemory", "batch 1")


def test_what_nobody_expected_is_an_error_of_the_controller(make_record):
    assert ending(make_record(), {"Error": "KeyError", "Cause": '{"errorMessage": "x"}'}, NOW) == Ending(
        "InternalError", "KeyError: x"
    )
    assert ending(None, None, NOW).code == "InternalError"


@given(
    st.none() | st.fixed_dictionaries({"Error": st.text(max_size=30), "Cause": st.none() | st.text(max_size=60)}),
    st.sampled_from(["", "running", "failed", "interrupted"]),
)
def test_without_a_completed_report_no_error_makes_a_success(make_record, error, state):
    end = ending(make_record(state=state), error, NOW)

    assert not end.completed
    assert end.code in REASONS


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=5
    )
)
def test_any_cause_of_a_function_is_read(make_record, cause):
    assert ending(make_record(), {"Error": "NoProgress", "Cause": json.dumps(cause)}, NOW).code == "NoProgress"


def test_a_lost_instance_is_tried_again_while_attempts_are_left(make_record):
    first = outcome(make_record({"max_attempts": 2}), Ending("InstanceLost", "gone"), NOW)
    second = outcome(make_record({"max_attempts": 2}, attempt=2), Ending("InstanceLost", "gone"), NOW)

    assert (first["next"], first["next_attempt"]) == ("retry", 2)
    assert (second["next"], second["next_attempt"], second["status"]) == ("cleanup", None, "failed")


@pytest.mark.parametrize(
    ("changes", "now"),
    [({"closed_at": NOW}, NOW), ({}, NOW + 7200)],
    ids=["the run was closed", "the deadline has passed"],
)
def test_nothing_is_tried_again_after_the_end(make_record, changes, now):
    assert outcome(make_record({"max_attempts": 5}, **changes), Ending("InstanceLost"), now)["next"] == "cleanup"


@given(st.sampled_from(sorted(REASONS)), st.integers(1, 5), st.integers(1, 5))
def test_a_failure_always_carries_code_and_next_step_and_retries_are_bounded(make_record, code, attempt, allowed):
    result = outcome(make_record({"max_attempts": allowed}, attempt=attempt), Ending(code, "why"), NOW)

    assert (result["status"], result["reason_code"]) == ("failed", code)
    assert "Next: " in result["cause"]
    assert (result["next"] == "retry") == (REASONS[code].retryable and attempt < allowed)


def test_a_completed_attempt_goes_to_cleanup_without_a_reason(make_record):
    assert outcome(make_record(), Ending("completed"), NOW) == {
        "status": "completed", "reason_code": None, "cause": None, "next": "cleanup", "next_attempt": None,
        "boot": None, "returns": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("left_seconds", "measured", "expected"),
    [(1, 0, "cleanup"), (179, 0, "cleanup"), (181, 0, "retry"), (29, 30, "cleanup"), (31, 30, "retry")],
)
def test_no_machine_is_launched_that_cannot_boot_before_the_deadline(make_record, left_seconds, measured, expected):
    record = make_record({"max_attempts": 2})
    record = record.with_changes({"booted_at": record.launch_started_at + measured if measured else 0})

    told = outcome(record, Ending("InstanceLost"), record.deadline_at - left_seconds)

    assert told["next"] == expected


def test_nothing_is_tried_again_that_the_workflow_cannot_launch(make_record):
    """AcceptRun timed out after it had registered the run: the workflow does not know its id."""
    told = outcome(make_record({"max_attempts": 5}, stage=""), Ending("HeartbeatLost"), NOW, may_retry=False)

    assert told["next"] == "cleanup"


@pytest.mark.parametrize(
    ("closed_as", "ended_as", "expected"),
    [
        ("HeartbeatLost", "Aborted", "HeartbeatLost"),
        ("HeartbeatLost", "ExecutionTimedOut", "HeartbeatLost"),
        ("HeartbeatLost", "InternalError", "HeartbeatLost"),
        ("HeartbeatLost", "RunEnded", "HeartbeatLost"),
        ("", "Aborted", None),
        ("", "CleanupIncomplete", "CleanupIncomplete"),
        ("RunEnded", "Aborted", "Aborted"),
    ],
)
def test_what_a_run_was_closed_for_is_its_verdict_whoever_ends_the_execution(
    make_record, closed_as, ended_as, expected
):
    closed = make_record(closed_at=NOW, closed_as=closed_as)

    assert verdict_to_record(closed, failed(ended_as, "why"))["reason_code"] == expected


def test_an_open_run_ends_as_its_execution(make_record):
    assert verdict_to_record(make_record(), failed("Aborted", "why"))["reason_code"] == "Aborted"


def test_a_request_too_large_for_the_workflow_is_an_invalid_request():
    end = ending(None, {"Error": "States.DataLimitExceeded", "Cause": "x" * 100}, NOW)

    assert (end.code, "found more" in end.detail) == ("RequestInvalid", True)
