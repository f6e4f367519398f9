"""Event of an upload that StartFromUpload gave up: a note says so beside the file. Runs on moto."""

import pytest

from lambdas import note_lost_upload, start_from_upload

KEY = "requests/nightly.json"
NOTE = f"{KEY}.rejected.txt"


@pytest.fixture
def note(world, event):
    """Return a function that hands over a failed event and gives the note."""

    def call(name="lambda_upload_lost", **changes):
        note_lost_upload.handler({**event(name), **changes}, world.context)
        return (world.cloud.objects.head(NOTE, 100_000) or b"").decode()

    return call


def test_an_upload_that_could_not_be_started_has_a_note_with_the_reason_and_what_to_do(world, event, note):
    world.put(KEY, "{}")
    happened = event("lambda_upload_lost")["requestPayload"]
    happened["detail"]["object"]["etag"] = world.cloud.objects.listed(KEY)[0].etag
    world.states.refuse = "ThrottlingException"
    for _ in range(3):
        with pytest.raises(Exception, match="ThrottlingException"):
            start_from_upload.handler(happened, world.context)
    asked = [given["name"] for operation, given in world.states.calls if operation == "start_execution"]

    written = note(requestPayload=happened)

    assert "Rate exceeded" in written
    assert len(asked) == 3
    (name,) = set(asked)
    arn = f"arn:aws:states:us-east-1:123456789012:execution:ChronosTraining-training:{name}"
    assert f"aws stepfunctions describe-execution --execution-arn {arn} " in written
    assert written.endswith("If there is none, upload the file again.\n")


def test_an_upload_for_which_the_function_was_never_called_has_one_too(note):
    assert "EventAgeExceeded" in note("lambda_upload_lost_unasked")


def test_a_function_that_ran_out_of_time_gave_no_type_of_error(note):
    answer = {"errorMessage": "2026-11-23T18:08:20.568Z e4b46cbf Task timed out after 60.00 seconds"}

    assert "Task timed out after 60.00 seconds" in note(responsePayload=answer)


def test_a_note_that_is_asked_for_twice_is_written_once(note):
    assert note() == note()


def test_no_text_of_an_error_changes_how_the_note_is_read(note):
    answer = {"errorType": "KeyError", "errorMessage": "\x1b[2J\u202e" + "x" * 100_000}

    written = note(responsePayload=answer)

    assert "\x1b" not in written
    assert "\u202e" not in written
    assert len(written) < 2000
