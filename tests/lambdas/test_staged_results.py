"""What becomes visible of a run: all of what was verified, or nothing, whoever breaks off or interferes. On moto."""

import hashlib
import json

import pytest
from boto3.s3.transfer import TransferConfig

from lambdas import collect_outcome
from lambdas.adapters import objects
from lambdas.adapters.clients import client
from lambdas.adapters.objects import Stamp
from lambdas.flows import publishing
from tests.lambdas.conftest import BUCKET, RUN_ID
from tests.lambdas.test_collect_outcome import PATHS, finish


class Killed(BaseException):
    """The function's process ends here."""


@pytest.fixture
def collect(world, event):
    """Return a function that runs the handler after the instance said that it is done."""
    return lambda: collect_outcome.handler(event("state_collect_outcome_after_success"), world.context)


@pytest.fixture
def training(world):
    """Give a run whose instance has left its results and said so."""
    record = world.launch(world.register(), stage="training", task_token="token", booted_at=world.clock.now, seq=3)
    finish(world, record)
    return record


def visible(world, record):
    """Return the results that people see of a run, by path; what its machine said of itself is beside them."""
    hidden = ("machines/", "staged/", "logs/", "system-state.json", "training.json")
    paths = [key.removeprefix(record.prefix) for key in world.keys(record.prefix)]
    return {p: world.cloud.objects.head(record.prefix + p, 10_000) for p in paths if not p.startswith(hidden)}


def results(text="content"):
    return {path: f"{text} of {path}".encode() for path in PATHS}


def forge(world, record, text="forged", *paths):
    for path in paths or PATHS:
        world.put(world.cloud.folder(record) + path, f"{text} of {path}")


def tags_of(key):
    return client("s3").get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]


def call_before(monkeypatch, function, happens):
    """Let something happen once, just before a function of the flow does its work."""
    real, happened = getattr(publishing, function), []

    def late(*arguments):
        if not happened:
            happened.append(True)
            happens()
        return real(*arguments)

    monkeypatch.setattr(publishing, function, late)


def kill_at(monkeypatch, k, prefix, folder):
    """End the process at its k-th copy, from 1 to the staging folder or, when `folder` is "", to a place."""
    s3 = client("s3")
    real, seen = s3.copy, []

    def dying(source, bucket, key, **named):
        if key.startswith(prefix + "staged/") == bool(folder):
            seen.append(key)
            if len(seen) >= k:
                raise Killed
        return real(source, bucket, key, **named)

    monkeypatch.setattr(s3, "copy", dying)
    monkeypatch.setattr(publishing, "WORKERS", 1)


@pytest.mark.parametrize("path", PATHS)
def test_one_artifact_replaced_after_it_was_verified_leaves_none_of_them_visible(
    world, collect, training, monkeypatch, path
):
    call_before(monkeypatch, "_stage", lambda: forge(world, training, "forged", path))

    assert collect()["reason_code"] == "ArtifactsInvalid"
    assert visible(world, training) == {}


def test_what_a_machine_does_once_its_results_are_staged_changes_nothing(world, collect, training, monkeypatch):
    def forge_all():
        forge(world, training)
        world.put(world.cloud.folder(training) + "training.json", "forged")

    call_before(monkeypatch, "_place", forge_all)

    assert collect()["status"] == "completed"
    assert world.document(training.prefix + "training.json")["status"] == "completed"
    assert visible(world, training) == results()


@pytest.mark.parametrize("k", range(1, len(PATHS) + 1))
@pytest.mark.parametrize("folder", ["staged/", ""])
def test_a_process_killed_between_two_copies_is_followed_by_one_that_does_the_rest(
    world, collect, training, monkeypatch, folder, k
):
    with monkeypatch.context() as patch:
        kill_at(patch, k, training.prefix, folder)
        with pytest.raises(Killed):
            collect()
    assert training.prefix + "training.json" not in world.keys(training.prefix)
    if folder:
        assert visible(world, training) == {}
    else:
        assert len(visible(world, training)) == k - 1
        # All is staged: what the machine does to its own folder now is of no account.
        forge(world, training)

    assert collect()["status"] == "completed"
    assert visible(world, training) == results()


def test_what_is_in_place_is_not_copied_again(world, collect, training, monkeypatch):
    collect()
    s3 = client("s3")
    real, copied = s3.copy, []
    monkeypatch.setattr(s3, "copy", lambda *given, **named: (copied.append(given[2]), real(*given, **named)))

    assert collect()["status"] == "completed"
    assert [key for key in copied if key.endswith(tuple(PATHS))] == []


def test_an_answer_that_was_lost_when_all_was_staged_costs_nothing(world, collect, training, monkeypatch):
    real = world.cloud.objects.replace

    def lost(_objects, *given, **named):
        assert real(*given, **named)
        # The SDK asks again, and is told that there is one already.
        return real(*given, **named)

    monkeypatch.setattr(objects.Objects, "replace", lost)

    assert collect()["status"] == "completed"
    assert visible(world, training) == results()


def test_two_calls_that_found_different_results_show_one_set_of_them(world, collect, training, monkeypatch):
    real, called = world.cloud.objects.replace, []

    def overtaken(_objects, *given, **named):
        if not called:
            called.append(True)
            # The first call stands still here. The machine leaves other results, and a second call does all the work.
            finish_again(world, training)
            assert collect()["status"] == "completed"
        return real(*given, **named)

    monkeypatch.setattr(objects.Objects, "replace", overtaken)
    collect()

    assert visible(world, training) == results("Content")
    assert world.document(training.prefix + "training.json") == world.document(
        world.cloud.folder(training) + "training.json"
    )


def finish_again(world, record):
    """Leave other results, as a machine may that is not what it should be."""
    listed = []
    for path, content in results("Content").items():
        world.put(world.cloud.folder(record) + path, content)
        listed.append({"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    key = world.cloud.folder(record) + "training.json"
    world.put(key, json.dumps({**world.document(key), "artifacts": listed}))


@pytest.mark.parametrize("ended", [{"closed_at": 5, "closed_as": "Aborted"}, {"ended_at": 5, "status": "failed"}])
def test_nothing_is_put_in_place_of_a_run_that_ended_meanwhile(world, collect, training, monkeypatch, ended):
    call_before(monkeypatch, "_refuse_ended", lambda: world.cloud.runs.note(training, ended))

    assert collect()["reason_code"] == "RunEnded"
    assert visible(world, training) == {}


def test_what_is_staged_is_tagged_to_be_ended_and_what_is_in_place_is_not(world, collect, training):
    for path in PATHS:
        tags = {"TagSet": [{"Key": "Staged", "Value": "true"}]}
        client("s3").put_object_tagging(Bucket=BUCKET, Key=world.cloud.folder(training) + path, Tagging=tags)

    collect()

    staged = world.keys(f"{training.prefix}staged/")
    assert len(staged) == len(PATHS) + 1
    assert [tags_of(key) for key in staged] == [[{"Key": "Staged", "Value": "true"}]] * len(staged)
    assert [tags_of(training.prefix + path) for path in (*PATHS, "training.json")] == [[]] * (len(PATHS) + 1)


def test_an_object_too_large_for_one_call_is_copied_with_its_hash_and_its_tag(world, monkeypatch):
    content = b"0123456789abcdef" * (11 * 2**16)
    whole = hashlib.sha256(content).hexdigest()
    world.put("large", content)
    found = world.cloud.objects.look("large")
    monkeypatch.setattr(objects, "_ONE_CALL_BYTES", 5 * 2**20)
    parts = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20, use_threads=False)
    monkeypatch.setattr(objects, "_COPYING", parts)

    assert world.cloud.objects.copy("large", "staged", found, "Staged=true")
    assert world.cloud.objects.copy("staged", "placed", Stamp(len(content), whole, ""))
    world.put("large", content + b"!")
    assert not world.cloud.objects.copy("large", "late", found)

    for key, tags in (("staged", [{"Key": "Staged", "Value": "true"}]), ("placed", [])):
        head = client("s3").head_object(Bucket=BUCKET, Key=key)
        assert (head["ContentLength"], head["Metadata"]) == (len(content), {"sha256": whole})
        assert head["ETag"].endswith('-3"')
        assert tags_of(key) == tags
    assert "late" not in world.keys("l")


def test_a_training_json_larger_than_any_is_refused(world, collect, training):
    key = world.cloud.folder(training) + "training.json"
    world.put(key, json.dumps(world.document(key)) + " " * objects.MOST_DOCUMENT_BYTES)

    assert "training.json: expected at most" in collect()["cause"]
    assert world.load().run_id == RUN_ID
