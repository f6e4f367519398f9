"""Invocations that were given up and run after their repetition, and events that come again later. Under pytest."""

from contextlib import suppress
from typing import Any

import pytest

from contracts.documents import Document
from tests.statemachine import plays
from tests.statemachine.functions import Ask, ErrorNamed
from tests.statemachine.plays import Player
from tests.statemachine.stage import STATES

LOST_CONNECTION = "Lambda.SdkClientException"
WAYS = (plays.COMPLETE, plays.UPLOADED, plays.LOST, plays.ABORTED, plays.DEAD_MAN, plays.DRAINED)


class Late:
    """The first invocation of a state in an attempt: Step Functions loses its connection, and it runs much later."""

    def __init__(self, player: Player, state: str) -> None:
        self.player, self.state = player, state
        self.given_up: Ask | None = None
        self.repeated = self.came = False
        self.wrong: list[str] = []
        self.arn = ""

    def at_once(self, name: str, event: Any, go: Ask) -> Any:
        """Let it run when its repetition has returned."""
        answer = self._called(name, event, go)
        if name == self.state:
            self.come()
        return answer

    def at_next_state(self, name: str, event: Any, go: Ask) -> Any:
        """Let it run when the function of the next state has returned."""
        answer = self._called(name, event, go)
        if name != self.state:
            self.come()
        return answer

    def at_next_attempt(self, name: str, event: Any, go: Ask) -> Any:
        """Let it run when the machine of the next attempt is awaited."""
        answer = self._called(name, event, go)
        if name == "AwaitTraining" and event["attempt"] == 2:
            self.come()
        return answer

    def at_the_end(self, name: str, event: Any, go: Ask) -> Any:
        """Let it run when the test calls `come`."""
        return self._called(name, event, go)

    def _called(self, name: str, event: Any, go: Ask) -> Any:
        self.arn = event.get("execution_arn", self.arn)
        if name == self.state and self.given_up is None:
            self.given_up = go
            raise ErrorNamed(LOST_CONNECTION)
        self.repeated = self.repeated or name == self.state
        return go()

    def come(self) -> None:
        """Run the invocation; nobody hears its answer. Once."""
        if self.came or not self.repeated or self.given_up is None:
            return
        self.came = True
        before = self.player.stage.record(self.arn)
        assert before is not None
        alive = self.player.instances(before.run_id, "running")
        with suppress(Exception):
            self.given_up()
        after = self.player.stage.record(self.arn)
        assert after is not None
        facts = {
            "machines": (self.player.instances(before.run_id, "running"), alive),
            "token": (after.task_token, before.task_token),
            "attempt": (after.attempt, before.attempt),
            "stage": (after.stage, before.stage),
            "instance": (after.instance_id, before.instance_id),
            "verdict": ((after.status if before.ended_at else ""), (before.status if before.ended_at else "")),
        }
        self.wrong += [f"{what}: was {was!r}, is {now!r}" for what, (now, was) in facts.items() if now != was]


@pytest.mark.parametrize("when", ["at_once", "at_next_state", "at_the_end"])
def test_a_late_first_invocation_of_a_state_changes_nothing(player: Player, when: str) -> None:
    wrong = []
    for state in STATES:
        late = Late(player, state)
        player.stage.functions.script = getattr(late, when)
        arn = player.play(plays.COMPLETE)
        late.come()
        player.stage.functions.script = lambda _name, _event, go: go()
        assert late.came, f"{state}: the invocation that was given up never ran"
        # A schedule that it armed fires, finds nothing, and is gone.
        player.fire_armed()
        wrong += [f"{state}: {found}" for found in late.wrong + player.wrong(plays.COMPLETE, arn)]
        player.forget()

    assert wrong == []


@pytest.mark.parametrize("state", ["LaunchInstance", "AwaitTraining", "CollectOutcome"])
def test_a_late_invocation_of_an_earlier_attempt_ends_no_machine_of_a_later_one(player: Player, state: str) -> None:
    late = Late(player, state)
    player.stage.functions.script = late.at_next_attempt
    arn = player.begin(plays.COMPLETE, {**plays.REQUEST, "market": "spot_then_on_demand", "max_attempts": 2})
    first = _train(player, arn, 1)
    player.stage.lose(first, spot=True)
    second = _train(player, arn, 2)
    player.patiently(lambda: late.came)
    # The events of the first machine come again, too.
    player.stage.lose(first, spot=True)

    assert late.came
    assert late.wrong == []
    assert player.instances(second.run_id, "running") == [second.instance_id]
    player.stage.complete(second)
    player.end(arn)
    final = player.stage.record(arn)
    assert final is not None
    assert (final.status, len(final.attempts)) == ("completed", 2)
    assert all(entry.ended_at for entry in final.attempts)
    assert player.stage.left_behind() == []


def _train(player: Player, arn: str, attempt: int) -> Any:
    record = player.waiting(arn, "boot", attempt)
    assert record is not None
    player.stage.report(record, 1, "booting", phase="boot")
    record = player.waiting(arn, "training", attempt)
    assert record is not None
    return record


@pytest.mark.parametrize("again", ["at once", "at the end"])
def test_events_that_come_again_change_nothing(player: Player, monkeypatch: pytest.MonkeyPatch, again: str) -> None:
    wrong = []
    for way in WAYS:
        heard: list[tuple[str, Document]] = []
        tell = type(player.stage).tell

        def hear(self: Any, function: str, event: Document, heard: Any = heard, tell: Any = tell) -> None:
            tell(self, function, event)
            heard.append((function, event))
            if again == "at once" and function != "DrainStack":
                tell(self, function, event)

        with monkeypatch.context() as patch:
            patch.setattr(type(player.stage), "tell", hear)
            arn = player.play(way)
        runs = player.executions()
        if again == "at the end":
            for function, event in heard:
                # A stack that is deployed again is another one.
                if event.get("RequestType") != "Create":
                    player.stage.tell(function, event)
            player.fire_armed()
        found = player.wrong(way, arn)
        found += ["another run was started"] * (player.executions() != runs)
        wrong += [f"{way.name}: {problem}" for problem in found]
        player.forget()

    assert wrong == []
