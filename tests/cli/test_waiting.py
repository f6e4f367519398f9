"""What `plan`, `show` and `watch` say of a run that waits for capacity. Runs offline."""

import json

from cli import needs, show, watch
from cli.stack import Stack
from contracts.layout import run_prefix
from lambdas.core.acceptance import checked_request
from lambdas.core.records import Attempt, RunRecord

STACK = Stack(state_machine_arn="arn", bucket="bucket", runs_table="runs")
SINCE = 1795456860
LINE = "2026-11-23T18:01:00Z on_demand g4dn.2xlarge in subnet-a: InsufficientInstanceCapacity (0.3 s)"


def _record(status: str) -> RunRecord:
    request = checked_request({"capacity_wait_minutes": 30})
    return RunRecord(
        run_id="20261123-180000", execution_arn="arn", prefix=run_prefix("20261123-180000"), request=request,
        created_at=SINCE - 60, deadline_at=SINCE + 7140, status=status, capacity_since=SINCE,
        launch_started_at=SINCE + 120, rungs=(LINE,),
    )  # fmt: skip


def test_plan_says_whether_and_how_long_the_run_would_wait() -> None:
    once = needs.capacity(checked_request({}), STACK)
    waits = needs.capacity(checked_request({"capacity_wait_minutes": 30}), STACK)

    assert "asked for once;" in once.found
    assert "once a minute, for 30 of the 120 minutes at most" in waits.found


def test_show_says_that_the_run_waits_and_until_when_with_each_answer() -> None:
    waits = _record("waiting")

    assert show._waiting(waits) == (
        "AWS has had no capacity since 2026-11-23T18:01:00Z. The run asks again at 2026-11-23T18:03:00Z, "
        "until 2026-11-23T18:31:00Z; no machine is paid for meanwhile."
    )
    assert LINE in show._ladder(waits)
    assert show._waiting(_record("launching")) == ""


def test_show_leaves_out_a_log_in_which_every_answer_was_an_instance() -> None:
    attempt = Attempt(1, "i-1", "g4dn.2xlarge", "on_demand", "us-east-1a", SINCE)
    line = "2026-11-23T18:01:00Z on_demand g4dn.2xlarge in subnet-a: i-1 (1.0 s)"
    launched = _record("training").with_changes({"attempts": (attempt,), "rungs": (line,)})

    assert show._ladder(launched) == ""
    assert show._ladder(launched.with_changes({"rungs": (LINE, line)})) == f"Asked of EC2\n  {LINE}\n  {line}"


def test_watch_says_when_the_run_asks_again_and_until_when() -> None:
    said = "No capacity yet, asks again at 2026-11-23T18:03:00Z, until 2026-11-23T18:31:00Z. Tried spot: no."
    caught = {"Error": "NoCapacityYet", "Cause": json.dumps({"errorMessage": said})}

    assert watch._waiting({"capacity": caught}) == said.partition(". Tried")[0]
    for odd in ({}, {"capacity": None}, {"capacity": {"Cause": "{"}}, {"capacity": {"Cause": "[1]"}}):
        assert watch._waiting(odd) == ""
