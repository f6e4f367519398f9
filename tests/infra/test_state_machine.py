"""The state machine's definition: every path cleans up, every wait ends, every state explains itself. Offline."""

import json
import subprocess
from pathlib import Path

import pytest

from contracts.documents import schema
from contracts.reasons import REASONS
from infra.definition import text
from lambdas.core.verdict import MOST_RETURNS
from lambdas.core.waiting import ROUND_SECONDS, NoCapacityYet
from lambdas.flows.accepting import YOUNG_SECONDS

ROOT = Path(__file__).parent.parent.parent
TASKS = ("AcceptRun", "LaunchInstance", "AwaitTraining", "CollectOutcome", "Cleanup", "RecordRun")
WAITING = ("LaunchInstance", "AwaitTraining")


def following(state):
    """Return the states that may follow, by success, choice or error."""
    found = {state.get("Next"), state.get("Default")}
    found |= {choice["Next"] for choice in state.get("Choices", [])}
    found |= {catch["Next"] for catch in state.get("Catch", [])}
    return found - {None}


def reachable(states, start, without=()):
    """Return the states that can be reached from `start` when `without` cannot be entered."""
    seen, todo = set(), [start]
    while todo:
        name = todo.pop()
        if name not in seen and name not in without:
            seen.add(name)
            todo += following(states[name])
    return seen


@pytest.fixture(scope="module")
def states(definition):
    """Return the states by name."""
    return definition["States"]


def test_the_definition_that_is_deployed_is_the_file(stack):
    machine = stack.only("AWS::StepFunctions::StateMachine")

    assert machine["DefinitionString"] == text()
    others = {"ExecutionTimeoutSeconds", "RunsAddress"}
    assert set(machine["DefinitionSubstitutions"]) == {f"{name}Arn" for name in TASKS} | others


def test_nothing_ends_after_the_launch_without_cleanup(states):
    ends = {name for name, state in states.items() if state["Type"] in ("Succeed", "Fail") or state.get("End")}

    assert ends == {"RunSucceeded", "RunFailed"}
    assert not reachable(states, "LaunchInstance", without=("Cleanup",)) & ends


def test_a_failed_cleanup_can_never_lead_to_success_by_itself(states):
    assumed = states["AssumeLeftovers"]["Result"]["verdict"]

    assert states["Cleanup"]["Catch"][0]["Next"] == "HasRunFailed"
    assert following(states["HasRunFailed"]) == {"KeepReason", "AssumeLeftovers"}
    assert (assumed["status"], assumed["reason_code"]) == ("failed", "CleanupIncomplete")


def test_a_failed_cleanup_keeps_the_reason_of_a_run_that_has_one(states):
    (choice,) = states["HasRunFailed"]["Choices"]
    kept = states["KeepReason"]["Parameters"]

    # A success has no reason code, and no reason code is no reason to keep.
    assert choice["And"][1] == {"Variable": "$.outcome.reason_code", "IsString": True}
    assert (kept["done"], kept["everything_gone"]) == (True, False)
    assert kept["verdict"]["status.$"] == "$.outcome.status"
    assert kept["verdict"]["reason_code.$"] == "$.outcome.reason_code"


def test_an_outcome_that_cannot_be_collected_is_left_to_cleanup_and_not_made_up(states):
    """Cleanup takes a run without an outcome for failed; what CollectOutcome failed of stands in for it."""
    *_, caught = states["CollectOutcome"]["Catch"]

    assert (caught["ErrorEquals"], caught["ResultPath"], caught["Next"]) == (["States.ALL"], "$.error", "Cleanup")
    assert [name for name, state in states.items() if state.get("ResultPath") == "$.outcome"] == ["CollectOutcome"]


def test_success_needs_a_completed_verdict(states):
    into_success = [name for name, state in states.items() if "RunSucceeded" in following(state)]

    assert into_success == ["DidRunSucceed"]
    (choice,) = states["DidRunSucceed"]["Choices"]
    assert (choice["Variable"], choice["StringEquals"]) == ("$.cleanup.verdict.status", "completed")
    assert states["DidRunSucceed"]["Default"] == "RunFailed"


def test_the_end_can_be_reached_from_every_state_and_every_state_from_the_start(states, definition):
    assert reachable(states, definition["StartAt"]) == set(states)
    for name in states:
        assert reachable(states, name) & {"RunSucceeded", "RunFailed"}, name


def test_every_state_has_a_comment_and_a_verb_or_a_verdict_for_a_name(states, definition):
    assert definition["Comment"].endswith(".")
    for name, state in states.items():
        assert state["Comment"].endswith("."), name
        assert name[0].isupper(), name
        assert name.isalpha(), name


def test_the_tasks_are_the_states_of_the_design_and_nothing_calls_aws_otherwise(states):
    tasks = {name for name, state in states.items() if state["Type"] == "Task"}

    assert tasks == set(TASKS)
    for name in tasks:
        waits = ".waitForTaskToken" if name in WAITING else ""
        assert states[name]["Resource"] == f"arn:aws:states:::lambda:invoke{waits}"
        assert states[name]["Parameters"]["FunctionName"].endswith(f":function:{name}")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_repeats_what_is_transient_and_catches_everything(states, name):
    *_, retry = states[name]["Retry"]
    *named, catch = states[name]["Catch"]

    own = [["NoCapacityYet"]] if name == "LaunchInstance" else []
    # States.ALL does not take it: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
    assert [one["ErrorEquals"] for one in named] == [*own, ["States.DataLimitExceeded"]]
    assert named[-1]["Next"] == catch["Next"]
    # A missed heartbeat, and the end of the time to boot or to train, are not errors to repeat: they are judged.
    expected = {"AcceptRun": ["States.TaskFailed", "States.Timeout"], **{key: ["States.TaskFailed"] for key in WAITING}}
    assert retry["ErrorEquals"] == expected.get(name, ["States.ALL"])
    assert 1 <= retry["MaxAttempts"] <= 10
    assert retry["MaxDelaySeconds"] <= 60
    assert retry["JitterStrategy"] == "FULL"
    assert catch["ErrorEquals"] == ["States.ALL"]
    # What AcceptRun refuses need not be an object that an error could be put into: there the error replaces it.
    assert catch.get("ResultPath") == (None if name == "AcceptRun" else "$.error")


@pytest.mark.parametrize("name", ["AcceptRun", *WAITING])
def test_a_verdict_is_never_repeated_as_if_it_were_transient(states, name):
    """The first retrier that names an error decides, and one with no attempts repeats nothing."""
    final, *others = states[name]["Retry"]

    assert final["MaxAttempts"] == 0
    # Those that say nothing of the run: they are repeated, and the verdict only when that was of no use.
    assert set(final["ErrorEquals"]) == set(REASONS) - {"AwsUnavailable", "PermissionMissing"}
    waited_for = {error for retry in others if retry["MaxAttempts"] == 0 for error in retry["ErrorEquals"]}
    timeouts = {"States.Timeout", "States.HeartbeatTimeout"} if name in WAITING else set()
    assert waited_for == timeouts | ({"NoCapacityYet"} if name == "LaunchInstance" else set())


@pytest.mark.parametrize("name", ["AcceptRun", *WAITING])
def test_a_missing_permission_is_asked_for_again_only_as_long_as_a_fresh_role_may_take(states, name):
    (retry,) = [retry for retry in states[name]["Retry"] if "PermissionMissing" in retry["ErrorEquals"]]
    waits = [retry["IntervalSeconds"] * retry["BackoffRate"] ** n for n in range(retry["MaxAttempts"])]

    assert retry["ErrorEquals"] == ["PermissionMissing"]
    assert 5 <= sum(waits) <= 20


def test_every_wait_ends_by_the_request_s_own_limits(states):
    boot, training = (states[name] for name in WAITING)

    assert boot["TimeoutSecondsPath"] == "$.run.boot_timeout_seconds"
    assert training["TimeoutSecondsPath"] == "$.boot.training_timeout_seconds"
    assert training["HeartbeatSecondsPath"] == "$.run.heartbeat_timeout_seconds"
    for name in TASKS:
        limits = {"TimeoutSeconds", "TimeoutSecondsPath"} & set(states[name])
        assert len(limits) == 1, name


def test_a_wait_for_capacity_is_a_state_that_is_seen_and_leaves_no_error_behind(states):
    (caught, *_) = states["LaunchInstance"]["Catch"]
    waiting = states["WaitForCapacity"]

    # CollectOutcome would take what is left in $.error for the reason of the run's end.
    assert caught == {"ErrorEquals": [NoCapacityYet.__name__], "ResultPath": "$.capacity", "Next": "WaitForCapacity"}
    assert (waiting["Type"], waiting["Seconds"], waiting["Next"]) == ("Wait", ROUND_SECONDS, "LaunchInstance")


def test_the_longest_wait_fits_into_an_execution_s_history(states):
    """https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html: 25,000 events."""
    longest = schema("run_request")["properties"]["capacity_wait_minutes"]["maximum"] * 60
    # Entered, scheduled, started, submission failed or failed, exited; the wait's entered and exited.
    events_a_round, room = 8, 2_000
    # AwaitTraining, CollectOutcome, and the two states that lead back.
    events_a_return = 15

    waits = longest / states["WaitForCapacity"]["Seconds"] * events_a_round
    assert waits + MOST_RETURNS * events_a_return < 25_000 - room


def test_the_execution_s_own_limit_is_the_config_s(definition):
    assert definition["TimeoutSeconds"] == 48 * 3600


def test_the_verdict_on_record_is_the_one_the_execution_ends_with(states):
    """A redriven RecordRun may find another verdict than it brings; when it fails, its own one stands."""
    record = states["RecordRun"]

    assert record["ResultPath"] == "$.cleanup.verdict"
    assert {"status.$", "reason_code.$", "cause.$"} <= set(record["ResultSelector"])
    assert record["Catch"][0]["ResultPath"] == "$.error"


def test_a_failed_execution_carries_reason_and_cause(states):
    failed = states["RunFailed"]

    assert failed["ErrorPath"] == "$.cleanup.verdict.reason_code"
    assert failed["CausePath"] == "$.cleanup.verdict.cause"


def test_the_next_attempt_drops_what_the_last_one_left(states):
    assert states["BeginNextAttempt"]["Parameters"] == {"run.$": "$.run", "attempt.$": "$.outcome.next_attempt"}
    assert states["BeginNextAttempt"]["Next"] == "LaunchInstance"


def test_every_try_of_acceptance_comes_while_its_execution_is_young(states):
    """An execution that is older has been redriven, and registers no run any more."""
    retries = states["AcceptRun"]["Retry"]
    tries = 1 + sum(retry["MaxAttempts"] for retry in retries)
    waits = sum(retry["MaxAttempts"] * retry.get("MaxDelaySeconds", 0) for retry in retries)

    assert tries * states["AcceptRun"]["TimeoutSeconds"] + waits < YOUNG_SECONDS


def test_the_payload_samples_are_what_the_states_send(states, event):
    for name in TASKS:
        sent = {key.removesuffix(".$") for key in states[name]["Parameters"]["Payload"]}
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
        sample = event(f"state_{snake}_after_success" if name == "CollectOutcome" else f"state_{snake}")
        assert set(sample) == sent, name


@pytest.mark.slow
def test_the_asl_validator_finds_no_fault(definition, tmp_path):
    validator = ROOT / "node_modules" / ".bin" / "asl-validator"
    if not validator.exists():
        pytest.skip("node_modules is missing: run make setup")
    path = tmp_path / "training.asl.json"
    path.write_text(json.dumps(definition))

    checked = subprocess.run([validator, "--json-path", path], capture_output=True, text=True, timeout=120, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr
