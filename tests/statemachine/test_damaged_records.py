"""Records of other releases, and broken ones: every net ends the machine, whatever the record says. Under pytest."""

import json
from typing import Any

import pytest

from lambdas.core.records import RunRecord
from tests.statemachine import plays
from tests.statemachine.plays import Player
from tests.statemachine.stage import aws

NETS = ("Cleanup", "status change", "dead man", "drain")
TEXT, NULL, NUMBER = {"S": "from the future"}, {"NULL": True}, {"N": "-1"}
BROKEN: dict[str, tuple[str, Any]] = {
    "unknown status": ("status", TEXT),
    "unknown stage": ("stage", TEXT),
    "unknown state of the machine": ("state", TEXT),
    "status null": ("status", NULL),
    "instance id null": ("instance_id", NULL),
    "closed_at null": ("closed_at", NULL),
    "closed_at text": ("closed_at", TEXT),
    "ended_at text": ("ended_at", TEXT),
    "closed_as unknown": ("closed_as", TEXT),
    "attempt text": ("attempt", TEXT),
    "fence text": ("fence", TEXT),
    "deadline a list": ("deadline_at", {"L": []}),
    "attempts unreadable": ("attempts", {"S": "[{"}),
    "attempts null": ("attempts", NULL),
    "attempts no list": ("attempts", {"S": "7"}),
    "an attempt with a field more": ("attempts", None),
    "an attempt with a field less": ("attempts", {"S": json.dumps([{"attempt": 1}])}),
    "request unreadable": ("request", {"S": "{"}),
    "request null": ("request", NULL),
    "request empty": ("request", {"S": "{}"}),
    "rungs unreadable": ("rungs", {"S": "]"}),
    "prefix missing": ("prefix", None),
    "created_at missing": ("created_at", None),
    "request missing": ("request", "missing"),
    "attempts missing": ("attempts", "missing"),
    "all missing": ("", "missing"),
}  # fmt: skip


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_every_net_ends_the_machine_of_a_record_it_cannot_read(player: Player, net: str, part: int) -> None:
    wrong = []
    for damage in list(BROKEN)[part::3]:
        arn = player.begin(plays.DRAINED if net == "drain" else plays.ABORTED, plays.REQUEST)
        record = player.waiting(arn, "boot")
        assert record is not None
        _damage(record, damage)
        _come(player, net, arn, record)
        alive = player.instances(record.run_id, "pending", "running")
        wrong += [f"{damage}: {alive} runs on"] * bool(alive)
        aws("stepfunctions").stop_execution(executionArn=arn)
        player.forget()
        for schedule in player.stage.left_behind():
            aws("scheduler").delete_schedule(Name=schedule, GroupName=plays.GROUP)

    assert wrong == []


def _damage(record: RunRecord, damage: str) -> None:
    """Change the item of a run as a release that is not this one, or nobody, would write it."""
    name, value = BROKEN[damage]
    key = {"id": {"S": record.run_id}}
    item = aws("dynamodb").get_item(TableName="runs", Key=key)["Item"]
    if damage == "an attempt with a field more":
        attempts = json.loads(item["attempts"]["S"])
        item["attempts"] = {"S": json.dumps([{**entry, "field_of_another_release": 1} for entry in attempts])}
    elif not name:
        item = {"id": item["id"], "execution_arn": item["execution_arn"], "run_id": item["run_id"]}
    elif isinstance(value, dict):
        item[name] = value
    else:
        del item[name]
    aws("dynamodb").put_item(TableName="runs", Item=item)


def _come(player: Player, net: str, arn: str, record: RunRecord) -> None:
    """Let a net come, with all the tries that AWS gives it; the other nets are not called."""
    if net == "Cleanup":
        state = {"run": {"run_id": record.run_id, "prefix": record.prefix}, "attempt": 1, "error": {"Error": "X"}}
        player.stage.tell("Cleanup", {"execution_arn": arn, "state": state})
    elif net == "status change":
        aws("stepfunctions").stop_execution(executionArn=arn)
        player.stage.tell("SweepRun", {"source": "aws.states", "detail": {"executionArn": arn, "status": "ABORTED"}})
    elif net == "dead man":
        player.fire(record.run_id)
    else:
        player.drain()
