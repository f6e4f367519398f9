"""A run that begins under one release and goes on under another, from a moment of its life on. Runs under pytest."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from contracts.documents import Document
from lambdas.core import waiting
from lambdas.core.records import RunRecord
from tests.previous_release import release
from tests.statemachine.functions import Ask
from tests.statemachine.plays import COMPLETE, DEAD_MAN, REQUEST, Player, Way
from tests.statemachine.stage import aws, definition, placeholders

CURRENT, PREVIOUS = "lambdas", "previous_lambdas"
# The moment is when the function of this state is called, or when the run waits for something.
MOMENTS = (
    "LaunchInstance", "waits for capacity", "boots", "trains", "CollectOutcome", "Cleanup", "RecordRun", "has ended",
)  # fmt: skip
UNKNOWN = {"field_of_another_release": {"S": "kept"}}


def previous_definition() -> str:
    """Return the previous release's state machine as the stage has the current one."""
    text = release.definition_text()
    for name, value in placeholders().items():
        text = text.replace(f"${{{name}}}", value)
    return definition(json.loads(text))


def no_capacity(operation: str, _ask: Ask) -> Any:
    """Let EC2 have no capacity."""
    raise ClientError({"Error": {"Code": "InsufficientInstanceCapacity", "Message": "none here"}}, operation)


@dataclass
class Change:
    """A change of the deployed release: `begun` starts the run, and `then` takes over at a moment."""

    player: Player
    begun: str
    then: str

    def play(self, moment: str, way: Way) -> str:
        """Play a run that the change meets at a moment and that goes its way from there; returns its ARN."""
        functions, self.done = self.player.stage.functions, False
        functions.package = self.begun
        self._deploy(previous_definition() if self.begun == PREVIOUS else definition())
        if moment == "waits for capacity":
            functions.disturb(no_capacity, lambda _, __, operation: operation == "RunInstances", once=False)
        arn = self.player.begin(COMPLETE, {**REQUEST, "capacity_wait_minutes": 5})
        functions.script = self._script(moment, way, arn)
        if moment == "waits for capacity":
            self.player.patiently(lambda: "WaitForCapacity" in self.player.stage.entered(arn))
            self._change(way, arn)
            functions.watch()
        self._go_on(moment, way, arn)
        self.player.end(arn)
        return arn

    def _go_on(self, moment: str, way: Way, arn: str) -> None:
        """Play the machine, as long as the run waits for it."""
        record = self.player.waiting(arn, "boot")
        if record and moment == "boots":
            self._change(way, arn)
        if record and self._runs(arn):
            self.player.stage.report(record, 1, "booting", phase="boot")
            record = self.player.waiting(arn, "training")
            if record and moment == "trains":
                self._change(way, arn)
        if record and self._runs(arn):
            self.player.stage.complete(record)
        if moment == "has ended":
            self.player.patiently(lambda: not self._runs(arn))
            self._change(way, arn)

    def _runs(self, arn: str) -> bool:
        return self.player.status(arn) == "RUNNING"

    def _script(self, moment: str, way: Way, arn: str) -> Callable[[str, Any, Ask], Any]:
        """Return what happens when a state calls its function: the change, if it is its moment."""

        def call(name: str, _event: Any, go: Ask) -> Any:
            if name == moment and not self.done:
                self._change(way, arn)
            return go()

        return call

    def _change(self, way: Way, arn: str) -> None:
        """Deploy the other release, and let its net come that ends the run, if the run is to end so."""
        self.done = True
        self.player.stage.functions.package = self.then
        self._deploy(definition() if self.then == CURRENT else previous_definition())
        record = self.player.stage.record(arn)
        assert record is not None
        aws("dynamodb").update_item(
            TableName="runs", Key={"id": {"S": record.run_id}}, UpdateExpression="SET #f = :v",
            ExpressionAttributeNames={"#f": next(iter(UNKNOWN))},
            ExpressionAttributeValues={":v": next(iter(UNKNOWN.values()))},
        )  # fmt: skip
        if way is DEAD_MAN:
            self.player.fire_armed(record.run_id)
        elif way is not COMPLETE:
            self.player.go(way, arn, record)

    def _deploy(self, text: str) -> None:
        """Change the state machine: what runs keeps the definition it began with."""
        aws("stepfunctions").update_state_machine(stateMachineArn=self.player.stage.machine_arn, definition=text)


def stored(record: RunRecord) -> Document:
    """Return the item of a run as it stands in the table."""
    return dict(aws("dynamodb").get_item(TableName="runs", Key={"id": {"S": record.run_id}})["Item"])


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Let both releases ask for capacity every second."""
    for module in (waiting, release.module("lambdas.core.waiting")):
        patch.setattr(module, "ROUND_SECONDS", 1)
