"""Update and rollback while runs go on, in each state of a run: no cleanup is stopped, nothing is left. pytest."""

import json

import pytest

from contracts.reasons import REASONS
from tests.previous_release import release
from tests.statemachine import plays, versions
from tests.statemachine.plays import Player, Way
from tests.statemachine.stage import aws
from tests.statemachine.versions import CURRENT, MOMENTS, PREVIOUS, UNKNOWN, Change

WAYS = (plays.COMPLETE, plays.ABORTED, plays.DEAD_MAN, plays.DRAINED)


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The previous release, beside the current one."""
    release.unpack(tmp_path_factory.mktemp("previous"))


@pytest.fixture
def changing(previous: None, player: Player, monkeypatch: pytest.MonkeyPatch) -> Player:
    """Someone who plays runs whose functions are replaced on the way."""
    versions.quicken(monkeypatch)
    release.module("lambdas.adapters.clients").client.cache_clear()
    release.module("lambdas.adapters.settings").settings.cache_clear()
    return player


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("begun", "then"), [(PREVIOUS, CURRENT), (CURRENT, PREVIOUS)], ids=["update", "rollback"])
def test_a_run_ends_as_it_must_when_its_functions_are_replaced(
    changing: Player, moment: str, begun: str, then: str
) -> None:
    wrong = []
    for way in WAYS:
        arn = Change(changing, begun, then).play(moment, way)
        wrong += [f"{way.name}: {found}" for found in _wrong(changing, moment, way, arn)]
        changing.forget()

    assert wrong == []


def _wrong(player: Player, moment: str, way: Way, arn: str) -> list[str]:
    record = player.stage.record(arn)
    if record is None:
        return ["no record"]
    alive = player.instances(record.run_id, "pending", "running")
    player.fire_armed()
    record = player.stage.record(arn) or record
    must = {
        "instances alive before the dead man came": (alive, []),
        "left": (player.stage.left_behind(), []),
        "status": (record.status, record.status if record.status in _allowed(moment, way) else _allowed(moment, way)),
        "reason": (not record.reason_code or record.reason_code in REASONS, True),
        "billed still": ([a.instance_id for a in record.attempts if not a.ended_at], []),
        "unknown attribute": ({name: versions.stored(record).get(name) for name in UNKNOWN}, UNKNOWN),
        **player.kept(record),
    }
    return [f"{what}: expected {right!r}, found {found!r}" for what, (found, right) in must.items() if found != right]


def _allowed(moment: str, way: Way) -> set[str]:
    """Return the verdicts a run may have; one that was cleaned up after its success may keep that."""
    return {way.record} | ({"completed"} if moment in ("Cleanup", "RecordRun", "has ended") else set())


@pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])
def test_fields_of_an_attempt_that_only_another_release_knows_are_kept(player: Player, way: Way) -> None:
    arn = player.begin(way, plays.REQUEST)
    record = player.waiting(arn, "boot")
    assert record is not None
    entries = json.loads(versions.stored(record)["attempts"]["S"])
    text = json.dumps([{**entry, "newer": [1]} for entry in entries])
    aws("dynamodb").put_item(TableName="runs", Item={**versions.stored(record), "attempts": {"S": text}})
    player.stage.report(record, 1, "booting", phase="boot")
    record = player.waiting(arn, "training")
    assert record is not None
    player.go(way, arn, record)
    player.end(arn)

    assert player.wrong(way, arn) == []
    assert [entry["newer"] for entry in json.loads(versions.stored(record)["attempts"]["S"])] == [[1]]
