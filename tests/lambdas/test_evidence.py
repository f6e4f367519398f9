"""Whatever ended a run: its reason, a sentence, the next step and where the evidence lies, in S3. Runs on moto."""

import pytest
from botocore.exceptions import ClientError

from contracts.documents import check
from contracts.layout import run_prefix
from contracts.reasons import REASONS
from lambdas import cleanup, collect_outcome, sweep_run
from lambdas.core.evidence import located
from lambdas.flows import draining
from lambdas.flows.recording import record_verdict

RUN_ID = "20261123-180000"
PREFIX = run_prefix(RUN_ID)
LOGS = f"s3://training-bucket/{PREFIX}logs/"
REFUSED = "phase1/refused/run-1/logs/"
CONSOLE = b"[   12.3] cloud-init[1234]: Cloud-init v. 24 running 'modules:final'\n"


@pytest.fixture
def console(world, monkeypatch):
    """Let EC2 have console output, and note how it was asked."""
    asked = []

    def output(**given):
        asked.append(given)
        return {"Output": CONSOLE.decode() if given.get("Latest") else ""}

    monkeypatch.setattr(world.ec2, "get_console_output", output, raising=False)
    return asked


def collect(world, event, error, cause="why"):
    payload = event("state_collect_outcome_after_timeout")
    payload["state"]["error"] = {"Error": error, "Cause": cause}
    return collect_outcome.handler(payload, world.context)


def ending(world, key=f"{PREFIX}logs/attempt-1/ending.json"):
    document = world.document(key)
    assert document is not None, world.keys()
    assert check("ending", document) == document
    assert document["sentence"] == REASONS[document["reason_code"]].sentence
    assert document["next_step"] == REASONS[document["reason_code"]].next_step
    assert "Next: " in document["cause"]
    return document


@pytest.mark.parametrize("code", ["CapacityUnavailable", "LaunchRefused", "QuotaTooLow"])
def test_a_run_that_never_had_an_instance_keeps_what_ec2_answered(world, event, code):
    world.register(stage="boot", rungs=("spot g4dn.2xlarge in subnet-a: InsufficientInstanceCapacity",))

    collect(world, event, code)

    told = ending(world)
    assert (told["reason_code"], told["instance"], told["caught"]) == (code, None, {"error": code, "cause": "why"})
    assert told["rungs"] == ["spot g4dn.2xlarge in subnet-a: InsufficientInstanceCapacity"]


def test_an_instance_that_never_booted_leaves_its_console_with_cloud_init_in_it(world, event, console):
    record = world.launch(world.register(), stage="boot", task_token="token")

    collect(world, event, "States.Timeout")

    told = ending(world)
    assert told["reason_code"] == "BootTimedOut"
    assert told["instance"] == {
        "instance_id": record.instance_id,
        "state": "running",
        "state_reason": "",
        "console": True,
    }
    assert told["last_report"] is None
    assert world.cloud.objects.head(f"{PREFIX}logs/attempt-1/console.log", 1000) == CONSOLE
    assert console[0] == {"InstanceId": record.instance_id, "Latest": True}


def test_an_instance_that_nobody_could_put_on_record_is_found_by_its_tags(world, event, console):
    record = world.launch(world.register(), stage="boot", task_token="token")
    world.cloud.runs.note(record, {"instance_id": "", "attempts": ()})

    collect(world, event, "States.Timeout")

    assert ending(world)["instance"]["instance_id"] == record.instance_id
    assert f"{PREFIX}logs/attempt-1/console.log" in world.keys(PREFIX)


def test_a_silent_machine_leaves_its_last_report(world, event, console):
    world.launch(world.register(), stage="training", task_token="token", booted_at=1, seq=4, state="running",
                 phase="training", progress="training 3/9 series", heartbeat_at=world.clock.now - 200)  # fmt: skip

    collect(world, event, "States.Timeout")

    told = ending(world)
    assert told["reason_code"] == "HeartbeatLost"
    assert told["last_report"]["progress"] == "training 3/9 series"
    assert told["last_report"]["seconds_ago"] == 200


def test_the_ending_names_the_logs_that_are_there(world, event, console):
    run = world.launch(world.register(), stage="training", task_token="token", booted_at=1, seq=4, state="running")
    world.put(f"{world.cloud.folder(run)}logs/training.log", "epoch 3")
    world.put(f"{world.cloud.folder(run, 'i-0')}logs/bootstrap.log", "of another machine")

    collect(world, event, "States.Timeout")

    logs = f"{PREFIX}logs/attempt-1/"
    assert ending(world)["logs"] == [f"{logs}training.log", f"{logs}console.log"]
    assert world.cloud.objects.head(f"{logs}training.log", 100) == b"epoch 3"
    assert f"{logs}bootstrap.log" not in world.keys(PREFIX)


def test_logs_that_cannot_be_looked_for_keep_no_ending_back(world, event, console, monkeypatch):
    world.launch(world.register(), stage="training", task_token="token", booted_at=1, seq=4, state="running")

    def refuse(*_arguments):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "HeadObject")

    monkeypatch.setattr(type(world.cloud.objects), "look", refuse)
    collect(world, event, "States.Timeout")

    assert ending(world)["logs"] == [f"{PREFIX}logs/attempt-1/console.log"]


def test_evidence_that_cannot_be_kept_changes_no_outcome(world, event, monkeypatch):
    world.launch(world.register(), stage="boot", task_token="token")

    def refuse(*_arguments, **_named):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")

    monkeypatch.setattr(type(world.cloud.objects), "put", refuse)
    monkeypatch.setattr(type(world.cloud.compute), "console", refuse)

    assert collect(world, event, "States.Timeout")["reason_code"] == "BootTimedOut"


def clean(world, event, state):
    payload = event("state_cleanup") | {"state": state}
    return cleanup.handler(payload, world.context)["verdict"]


def test_an_execution_that_was_refused_keeps_why_under_its_own_name(world, event):
    outcome = {"status": "failed", "reason_code": "RequestInvalid", "cause": "modles: no such field. Next: Correct it."}
    state = {"Error": "RequestInvalid", "Cause": '{"errorMessage": "modles"}', "outcome": outcome}

    verdict = clean(world, event, state)

    assert verdict["cause"].endswith(f"Evidence: s3://training-bucket/{REFUSED}")
    told = ending(world, f"{REFUSED}ending.json")
    assert (told["run_id"], told["reason_code"]) == (None, "RequestInvalid")
    assert told["caught"] == {"error": "RequestInvalid", "cause": '{"errorMessage": "modles"}'}


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ({"Error": "Lambda.Unknown", "Cause": "killed"}, "InternalError", "run: Lambda.Unknown killed Next"),
        ({"Error": "PermissionMissing", "Cause": '{"errorMessage": "GetItem was refused."}'}, "PermissionMissing",
         "run: GetItem was refused. Next"),
        ({"Error": "AwsUnavailable", "Cause": '{"errorMessage": "SlowDown"}'}, "AwsUnavailable", "run: SlowDown Next"),
        # What the run would end as cannot be what CollectOutcome itself ended with.
        ({"Error": "OutOfMemory", "Cause": ""}, "InternalError", "run: OutOfMemory Next"),
    ],
)  # fmt: skip
def test_a_run_whose_outcome_could_not_be_collected_failed_and_has_evidence(
    world, event, console, monkeypatch, error, code, said
):
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", 5)
    world.launch(world.register(), stage="training", task_token="token")

    verdict = clean(world, event, {"run": {}, "error": error})

    assert (verdict["status"], verdict["reason_code"]) == ("failed", code)
    assert f"CollectOutcome could not judge the {said}: " in verdict["cause"]
    assert verdict["cause"].endswith(f"Evidence: {LOGS}")
    assert ending(world)["caught"] == {"error": error["Error"], "cause": error["Cause"]}


def test_the_causes_of_leftovers_name_the_evidence_last(world, event, monkeypatch):
    monkeypatch.setattr(type(world.cloud.compute), "delete", lambda self, resource: "refused: UnauthorizedOperation")
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", -1)
    world.launch(world.register())

    verdict = clean(world, event, {"outcome": {"status": "completed", "reason_code": None, "cause": None}})

    assert verdict["reason_code"] == "CleanupIncomplete"
    assert "Left: i-" in verdict["cause"]
    assert verdict["cause"].endswith(f"Evidence: {LOGS}")


def test_the_record_says_where_the_evidence_lies_and_a_success_has_none(world):
    failed = record_verdict(world.cloud, world.register(), "failed", "NoProgress", "Stood still. Next: look.")

    assert failed.evidence == world.load().evidence == LOGS
    assert failed.cause == f"Stood still. Next: look. Evidence: {LOGS}"
    assert world.cloud.runs.note(failed, {"ended_at": 0}).ended_at == 0
    assert record_verdict(world.cloud, failed, "completed").evidence == ""


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"status": "ABORTED", "error": None, "cause": "enough"}, "Aborted", "enough"),
        ({"status": "ABORTED", "error": "SpotInterrupted", "cause": None}, "Aborted", "SpotInterrupted"),
        ({"status": "TIMED_OUT", "error": None, "cause": None}, "ExecutionTimedOut", ""),
        ({"status": "FAILED", "error": "States.Runtime", "cause": "no such path"}, "InternalError", "no such path"),
        ({"status": "FAILED", "error": "NoProgress", "cause": "Still. Next: look."}, "NoProgress", "Still."),
    ],
)
def test_a_run_that_was_cut_off_has_code_sentence_next_step_and_evidence(world, event, console, changes, code, said):
    world.launch(world.register(), stage="training", task_token="token")
    stopped = event("stepfunctions_execution_aborted")
    stopped["detail"] |= changes

    sweep_run.handler(stopped, world.context)

    record = world.load()
    assert (record.reason_code, record.evidence) == (code, LOGS)
    assert said in record.cause
    assert "Next: " in record.cause
    assert record.cause.endswith(f"Evidence: {LOGS}")
    assert ending(world)["reason_code"] == code
    assert f"{PREFIX}logs/attempt-1/console.log" in world.keys(PREFIX)


def test_a_run_whose_stack_is_deleted_keeps_its_evidence(world, console, monkeypatch):
    monkeypatch.setattr(draining, "POLL_SECONDS", 0.0)
    record = world.launch(world.register(), stage="training", task_token="token")
    world.states.running = [record.execution_arn]

    assert draining.drain(world.cloud, 60) == ""

    assert ending(world)["reason_code"] == "Aborted"
    assert f"{PREFIX}logs/attempt-1/console.log" in world.keys(PREFIX)
    assert world.load().evidence == LOGS


def test_a_cause_that_says_where_the_evidence_is_says_so_once_and_is_never_too_long():
    once = located("why. " * 1000, LOGS)

    assert len(once) == 2000
    assert once.endswith(f"Evidence: {LOGS}")
    assert located(once, LOGS) == once
