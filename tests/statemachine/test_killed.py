"""Every function killed after each of its calls, then what AWS does next: a run ends as if nothing had been. pytest."""

from itertools import count

import pytest

from tests.statemachine import plays
from tests.statemachine.plays import Player, Way
from tests.statemachine.stage import STATES

# How Step Functions names the death of a function's process.
NAMES = ("Lambda.Unknown", "Runtime.ExitError")
EVENTS = [
    ("ObserveState", plays.COMPLETE),
    ("ObserveInstance", plays.LOST),
    ("SweepRun", plays.COMPLETE),
    ("SweepRun", plays.ABORTED),
    ("SweepRun", plays.DEAD_MAN),
    ("StartFromUpload", plays.UPLOADED),
    ("DrainStack", plays.DRAINED),
]
PLAYS = [(state, plays.COMPLETE, name) for name in NAMES for state in STATES] + [(*event, NAMES[0]) for event in EVENTS]


@pytest.mark.parametrize(
    ("function", "way", "name"), PLAYS, ids=[f"{function} {way.name} {name}" for function, way, name in PLAYS]
)
def test_a_function_killed_after_any_of_its_calls_changes_nothing(
    player: Player, function: str, way: Way, name: str
) -> None:
    functions, wrong = player.stage.functions, []
    for number in count(1):
        functions.kill(function, number, name)
        arn = player.play(way)
        met = functions.met
        functions.watch()
        wrong += [f"after call {number}, {met or 'undisturbed'}: {found}" for found in player.wrong(way, arn)]
        if not met:
            break
        player.forget()

    assert number > 1, f"{function} made no call"
    assert wrong == []


def test_a_sweep_that_fails_for_good_is_made_up_for_whatever_kills_what_arms_it_again(player: Player) -> None:
    functions, wrong = player.stage.functions, []
    for number in count(1):
        functions.kill("RearmSweep", number, NAMES[0])
        functions.dead = {"SweepRun"}
        arn = player.play(plays.ABORTED)
        functions.dead, met = set(), functions.met
        functions.watch()
        fired = player.fire_armed()
        found = [] if fired else ["no schedule was armed"]
        player.fire_armed()
        wrong += [
            f"after call {number}, {met or 'undisturbed'}: {one}" for one in found + player.wrong(plays.ABORTED, arn)
        ]
        player.forget()
        if not met:
            break

    assert number > 1
    assert wrong == []


def test_an_upload_that_no_try_could_start_is_noted_whatever_kills_the_note(player: Player) -> None:
    functions = player.stage.functions
    for number in count(1):
        functions.kill("NoteLostUpload", number, NAMES[0])
        functions.dead = {"StartFromUpload"}
        key = player.upload(plays.REQUEST)
        functions.dead, met = set(), functions.met
        functions.watch()

        assert len(player.keys_below(key)) == 2, f"after call {number}: expected the upload and one note beside it"
        assert player.executions() == []
        if not met:
            break

    assert number > 1
