"""What the controller writes to its logs: run ids on every line, task tokens on none. Runs on moto."""

import json

from lambdas import accept_run, await_training, cleanup, collect_outcome, launch_instance, observe_state, sweep_run
from lambdas.adapters.telemetry import logger


def _whole_run(world, event):
    """Go through a run with every function that handles a token."""
    world.put_inputs()
    accept_run.handler(event("state_accept_run"), world.context)
    launch_instance.handler(event("state_launch_instance"), world.context)
    world.report(world.load(), 1, "booting")
    observe_state.handler(world.written(event("s3_state_written")), world.context)
    await_training.handler(event("state_await_training"), world.context)
    world.report(world.load(), 2, "failed", error={"code": "TrainingFailed", "message": "why"})
    world.states.refuse = "InvalidToken"
    observe_state.handler(world.written(event("s3_state_written")), world.context)
    collect_outcome.handler(event("state_collect_outcome_after_success"), world.context)
    cleanup.handler(event("state_cleanup"), world.context)
    world.states.refuse = ""
    sweep_run.handler(event("stepfunctions_execution_failed"), world.context)


def test_no_line_holds_a_task_token_and_each_holds_the_run_id(world, event, log_text):
    _whole_run(world, event)

    text = log_text()
    assert "the state no longer waits" in text
    assert "instance launched" in text
    for state in ("state_launch_instance", "state_await_training"):
        assert event(state)["task_token"] not in text
    lines = [json.loads(line) for line in text.splitlines()]
    # Before AcceptRun has registered the run there is no id to name.
    nameless = [line["message"] for line in lines if line.get("run_id") != "20261123-180000"]
    assert nameless == ["could not read a quota, going on without"]
    assert "run accepted" in [line["message"] for line in lines]


def test_logging_a_record_as_it_is_does_not_show_its_token(world, event, log_text):
    record = world.register(task_token="secret-token")

    logger.info("a record", extra={"record": str(record)})

    assert "secret-token" not in log_text()
    assert "20261123-180000" in log_text()
