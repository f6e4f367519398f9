"""The closed list of reasons: complete, and fit for the contracts that carry them. Runs under pytest, offline."""

import re

import pytest

from contracts.documents import schema
from contracts.reasons import CAUSE_LENGTH, INSTANCE_CODES, REASONS, RunError, explain, reported


def _leaves(kind):
    below = kind.__subclasses__()
    return {kind} if not below else set().union(*map(_leaves, below))


@pytest.mark.parametrize("kind", sorted((c for c in _leaves(RunError) if c.__module__ == "contracts.reasons"), key=str))
def test_every_error_class_is_named_after_a_reason(kind):
    assert kind("why").code in REASONS
    assert kind("why").message == "why"


@pytest.mark.parametrize("code", sorted(REASONS))
def test_every_reason_fits_the_report_and_tells_what_to_do(code):
    reason = REASONS[code]

    assert re.match(schema("system_state")["properties"]["error"]["properties"]["code"]["pattern"], code)
    assert reason.code == code
    assert reason.sentence.endswith(".")
    assert reason.next_step.endswith(".")


def test_only_what_a_new_instance_can_heal_is_retried():
    assert {code for code, reason in REASONS.items() if reason.retryable} == {
        "BootTimedOut", "DataSyncFailed", "ResultsSyncFailed", "HeartbeatLost", "SpotInterrupted", "InstanceLost",
    }  # fmt: skip


def test_a_machine_can_know_nothing_of_requests_accounts_people_or_the_controller():
    assert {
        "BootFailed", "PreflightFailed", "DataSyncFailed", "DatasetInvalid", "ModelWeightsMissing", "TrainingDiverged",
        "OutOfMemory", "TrainingFailed", "ResultsSyncFailed", "PhaseTimedOut", "RunTimedOut", "CostCapReached",
        "SpotInterrupted", "InstanceLost",
    } == INSTANCE_CODES  # fmt: skip


def test_a_reason_that_is_no_machine_s_becomes_another_and_is_kept_in_the_message():
    assert reported("OutOfMemory", "batch 1", "TrainingFailed") == ("OutOfMemory", "batch 1")
    code, message = reported("Aborted", "by me", "TrainingFailed")
    assert code == "TrainingFailed"
    assert message == "The machine gave the reason Aborted, which no machine can know. It said: by me"


def test_a_cause_says_what_happened_the_detail_and_the_next_step():
    cause = explain("DatasetNotFound", " dataset: expected stocks. ")

    assert cause.startswith("The data set is not in the bucket. dataset: expected stocks. Next: Upload")


def test_a_cause_without_a_detail_has_no_gap():
    assert explain("Aborted", "") == "The execution was stopped by a person. Next: Start again when ready."


def test_an_unknown_code_is_explained_as_an_error_of_the_controller():
    assert explain("NoSuchReason", "what").startswith(REASONS["InternalError"].sentence)


def test_a_long_detail_loses_its_middle_and_the_cause_keeps_its_next_step():
    cause = explain("QuotaTooLow", f"Tried {'rung; ' * 500} Ask for more with: aws service-quotas request")

    assert len(cause) < CAUSE_LENGTH
    assert "Tried rung; rung;" in cause
    assert "Ask for more with: aws service-quotas request Next: Ask for more" in cause
