"""Every call of DrainStack refused, throttled, failing, its answer lost: nothing is left. Runs under pytest."""

from itertools import count

import pytest

from tests.statemachine import functions, plays
from tests.statemachine.functions import Fault
from tests.statemachine.plays import Player

FAULTS = (functions.refused, functions.throttled, functions.broken, functions.answer_lost)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.__name__ for fault in FAULTS])
@pytest.mark.parametrize("part", [0, 1])
def test_a_drain_ends_the_machine_and_says_what_it_could_not_do(player: Player, fault: Fault, part: int) -> None:
    """What it could not do is done when CloudFormation deletes the stack again."""
    wrong = []
    for number in count(1 + part, 2):
        player.stage.functions.disturb(fault, _nth_call(number))
        arn = player.play(plays.DRAINED)
        met, answer = player.stage.functions.met, player.answers[-1]
        player.stage.functions.watch()
        if answer["Status"] == "FAILED":
            found = [f"no reason given: {answer}"] * (len(answer["Reason"]) < 20)
            player.drain()
            found += [f"drained again: {player.answers[-1]}"] * (player.answers[-1]["Status"] != "SUCCESS")
        else:
            found = []
        found += player.wrong(plays.DRAINED, arn)
        wrong += [f"call {number}, {met or 'undisturbed'}: {problem}" for problem in found]
        player.forget()
        if not met:
            break

    assert number > 20
    assert wrong == []


def _nth_call(number: int) -> functions.Target:
    return lambda function, count, _: function == "DrainStack" and count == number
