"""The fault matrix's pure parts: which cases there are, what passes, what is kept."""

from pathlib import Path
from typing import Any

import pytest

from chaos import ledger, worker
from chaos.cases import ELSEWHERE, ENDS, LASTING, PASSING, Case, calls, people, tasks
from chaos.matrix import RARE, RARE_PART, Recorded, around, joined, matrix, sample
from chaos.verdicts import EMPTY_WITHIN_SECONDS, NOTED, Outcome, failures, row
from contracts.reasons import REASONS
from infra import definition

KNOWN = {
    ("lambda:Cleanup", "ec2", "TerminateInstances"),
    ("instance", "s3", "PutObject"),
    ("states:RecordRun", "lambda", "Invoke"),
    ("other", "sts", "GetCallerIdentity"),
}
RECORDED = Recorded(KNOWN, {"Cleanup": ["ec2:DescribeInstances", "dynamodb:UpdateItem"], "SweepRun": ["s3:PutObject"]})
RIGHT = ("SUCCEEDED",)
KINDS = {
    "aws", "task", "killed", "late", "async", "machine", "events", "people", "capacity", "net", "outage", "stack",
    "versions",
}  # fmt: skip


def case(*verdicts: str) -> Case:
    return Case("a case", "aws", verdicts, "of the reason given")


def passing() -> Outcome:
    return Outcome("SUCCEEDED", empty_seconds=1.0)


def test_every_call_of_the_stack_has_every_fault_and_nobody_else_s_has_one() -> None:
    names = [c.name for c in matrix(RECORDED)]

    assert len(names) == len(set(names))
    assert sum(name.startswith("lambda:Cleanup ec2:TerminateInstances") for name in names) == 7
    assert sum(name.startswith("instance s3:PutObject") for name in names) == 7
    assert sum(name.startswith("states:RecordRun") for name in names) == 7
    assert not [name for name in names if "GetCallerIdentity" in name]
    assert {c.kind for c in matrix(RECORDED)} == KINDS


def test_a_person_stops_the_run_in_every_state_in_which_time_passes_and_redrives_it() -> None:
    lasting = {name for name, state in definition.parsed()["States"].items() if state["Type"] in ("Task", "Wait")}

    for what in ("abort", "redrive"):
        assert {c.fault["state"] for c in people() if c.fault["do"] == what} == lasting


def test_right_verdicts_are_reason_codes_or_success() -> None:
    assert all(c.verdicts and set(c.verdicts) <= {"SUCCEEDED", NOTED, *REASONS} for c in matrix(RECORDED))


@pytest.mark.parametrize("caller", ["lambda:AcceptRun", "lambda:LaunchInstance", "states:AcceptRun", *ELSEWHERE])
def test_only_a_fault_that_lasts_may_end_a_run_and_never_for_what_the_request_the_market_or_a_person_did(
    caller: str,
) -> None:
    kind, _, name = caller.partition(":")
    cases = tasks(name) if kind == "states" else calls(caller, "s3", "GetObject")
    lies = {
        "RequestInvalid", "DatasetInvalid", "QuotaTooLow", "CostCapTooLow", "MonthlyBudgetExceeded",
        "CapacityUnavailable", "TrainingDiverged", "OutOfMemory", "CostCapReached", "SpotInterrupted", "Aborted",
    }  # fmt: skip

    assert {c.name.partition(" ")[2].partition(" ")[2] for c in cases} == {*PASSING, *LASTING}
    good = ENDS.get(caller, "SUCCEEDED")
    for case in cases:
        assert good in case.verdicts
        assert not lies & set(case.verdicts) - {good}
        if case.name.endswith(PASSING):
            assert case.verdicts == (good,)


def test_a_sample_has_one_of_each_kind_and_is_the_same_for_its_seed() -> None:
    cases = matrix(RECORDED)

    assert {c.kind for c in sample(cases, len(KINDS), seed=1)} == KINDS
    assert sample(cases, 20, seed=1) == sample(cases, 20, seed=1)
    assert sample(cases, 20, seed=1) != sample(cases, 20, seed=2)
    assert len(sample(cases, 20, seed=1)) == 20


def test_of_the_calls_that_need_a_new_stack_a_seeded_part_is_broken() -> None:
    known = {(RARE, "ec2", name) for name in ("DescribeInstances", "DescribeVolumes", "TerminateInstances")}

    broken = [c for c in around(known) if c.kind == "aws"]

    assert len(broken) == -(-len(known) * 7 // RARE_PART)
    assert {c.fault["start"] for c in broken} == {"destroy"}
    assert broken == [c for c in around(known) if c.kind == "aws"]


def test_what_several_clean_runs_did_is_joined_by_the_longest_invocation() -> None:
    other = Recorded({("instance", "s3", "GetObject")}, {"SweepRun": ["s3:PutObject", "s3:GetObject"]})

    whole = joined([RECORDED, other])

    assert whole.calls == KNOWN | other.calls
    assert whole.invocations == {"Cleanup": RECORDED.invocations["Cleanup"], "SweepRun": other.invocations["SweepRun"]}


def test_services_refuse_in_their_own_words() -> None:
    refused = {
        c.name: c.fault["rule"]["error"]["code"] for c in calls("x", "ec2", "RunInstances") if "refused" in c.name
    }

    assert refused == {"x ec2:RunInstances refused": "UnauthorizedOperation"}


@pytest.mark.parametrize(
    ("verdicts", "change", "expected"),
    [
        (RIGHT, {}, ""),
        (("BootTimedOut",), {}, "expected BootTimedOut"),
        (RIGHT, {"status": "FAILED", "reason": "InternalError"}, "expected SUCCEEDED"),
        (("InternalError",), {"status": "FAILED", "reason": "InternalError"}, ""),
        (RIGHT, {"status": "FAILED", "reason": "States.Runtime"}, "expected a reason code"),
        (("Aborted", "SUCCEEDED"), {"status": "ABORTED", "reason": "completed"}, ""),
        (("Aborted",), {"status": "ABORTED", "reason": "completed"}, "expected Aborted"),
        (("Aborted",), {"status": "ABORTED", "reason": "failed"}, "expected a reason code"),
        (RIGHT, {"recorded": "completed"}, ""),
        (RIGHT, {"recorded": "HeartbeatLost"}, "record says HeartbeatLost"),
        (("HeartbeatLost",), {"status": "FAILED", "reason": "HeartbeatLost", "recorded": "HeartbeatLost"}, ""),
        (
            ("HeartbeatLost",),
            {"status": "FAILED", "reason": "HeartbeatLost", "recorded": "completed"},
            "record says completed",
        ),
        (("RunEnded",), {"status": "FAILED", "reason": "RunEnded", "recorded": "Aborted"}, ""),
        (("RunEnded",), {"status": "FAILED", "reason": "RunEnded", "recorded": "RunEnded"}, "record says RunEnded"),
        (("Noted",), {"status": "Noted", "reason": "Noted"}, ""),
        (RIGHT, {"status": "Noted", "reason": "Noted"}, "expected SUCCEEDED"),
        (RIGHT, {"leftovers": ["volume vol-1 available"]}, "left behind: volume vol-1"),
        (RIGHT, {"lost": ["phase1/a"]}, "uploaded and gone"),
        (RIGHT, {"fired": False}, "never met the run"),
        (RIGHT, {"empty_seconds": EMPTY_WITHIN_SECONDS + 1}, "expected within"),
        (RIGHT, {"problem": "waited 400 s for the execution to end"}, "waited 400 s"),
    ],
)
def test_what_a_case_fails_by(verdicts: tuple[str, ...], change: dict[str, Any], expected: str) -> None:
    outcome = passing()
    for name, value in change.items():
        setattr(outcome, name, value)

    found = failures(case(*verdicts), outcome)

    assert len(found) == bool(expected)
    assert expected in "".join(found)


def test_finished_cases_are_kept_until_the_code_changes(tmp_path: Path) -> None:
    path, rows = tmp_path / "chaos.json", {"a case": row(case(*RIGHT), passing(), 3.0)}
    ledger.save("code-1", 4, 9, rows, path)

    assert ledger.load("code-1", False, path) == rows
    assert ledger.load("code-1", True, path) == {}
    assert ledger.load("code-2", False, path) == {}


def test_the_code_s_digest_sees_a_change(tmp_path: Path) -> None:
    (tmp_path / "lambdas").mkdir()
    file = tmp_path / "lambdas" / "a.py"
    file.write_text("a = 1")
    before = ledger.fingerprint(tmp_path)

    file.write_text("a = 2")

    assert ledger.fingerprint(tmp_path) != before


def test_progress_tells_the_minutes_left_at_the_pace_so_far() -> None:
    assert ledger.progress(30, 120, 360.0) == "--- 30 of 120 done in 6 minutes, about 18 minutes left"
    assert ledger.progress(120, 120, 1440.0).endswith("about 0 minutes left")


def test_table_and_page_name_what_failed() -> None:
    bad = passing()
    bad.leftovers = ["instance i-1 running"]
    rows = [row(case(*RIGHT), passing(), 3.0), {**row(case("BootFailed"), bad, 3.0), "case": "another"}]

    page = ledger.page(f"before\n{ledger.BEGIN}\nold\n{ledger.END}\nafter\n", rows, 9)

    assert "1  left behind: instance i-1 running; SUCCEEDED" in ledger.line(rows[1])
    assert page.startswith("before")
    assert page.endswith("after\n")
    assert "old" not in page
    assert "9 cases in all. Seen: 2 cases, 1 passed, 1 with leftovers, 1 wrong verdicts; slowest" in page
    assert "- `another`: left behind: instance i-1 running" in page


def test_the_page_has_the_slowest_seconds_to_the_machine_s_end_by_net_and_service() -> None:
    def outage(net: str, down: str, seconds: float) -> dict[str, Any]:
        told = Case("an outage", "outage", RIGHT, "why", {"net": net, "down": down})
        return row(told, Outcome("SUCCEEDED", machine_seconds=seconds), 3.0)

    rows = [outage("rule", "s3", 2.0), outage("rule", "s3", 5.4), outage("catch", "dynamodb", 1.0)]

    lines = ledger.slowest([*rows, row(case(*RIGHT), passing(), 3.0)])

    assert lines[3:] == ["| down | catch | rule |", "| --- | --- | --- |", "| dynamodb | 1 |  |", "| s3 |  | 5 |"]
    assert ledger.slowest([row(case(*RIGHT), passing(), 3.0)]) == []


def test_an_estimate_tells_the_minutes_and_what_is_asked_for() -> None:
    cases = [Case(str(number), "task", RIGHT, "why") for number in range(40)]

    assert ledger.estimate(cases, 4) == "about 3 minutes for 40 task"


def test_a_case_that_cannot_be_played_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_arena", [object()])

    told = worker.run(Case("events without a machine", "events", ("SUCCEEDED",), "why", {}))

    assert told["leftovers"] == []
    assert "could not be played" in told["failures"][0]
