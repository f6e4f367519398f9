"""Event on requests/: one upload, one run; what is no request gets a note. Runs on moto."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas import start_from_upload
from lambdas.start_from_upload import execution_name

KEY = "requests/nightly.json"


@pytest.fixture
def upload(world, event):
    """Return a function that delivers the event."""
    return lambda name="s3_request_uploaded": start_from_upload.handler(event(name), world.context)


def test_an_upload_starts_a_run_with_the_file_as_its_request(world, upload, event):
    world.put(KEY, '{"dataset": "stocks"}')

    upload()

    ((operation, given_arguments),) = world.states.calls
    assert operation == "start_execution"
    assert given_arguments == {
        "stateMachineArn": event("stepfunctions_execution_succeeded")["detail"]["stateMachineArn"],
        "name": execution_name(event("s3_request_uploaded")["detail"]["object"]),
        "input": '{"dataset": "stocks"}',
    }


def test_the_same_event_twice_asks_for_the_same_execution(world, upload):
    world.put(KEY, "{}")

    upload()
    world.states.refuse = "ExecutionAlreadyExists"
    upload("s3_request_uploaded_duplicate")

    first, second = (given_arguments for _, given_arguments in world.states.calls)
    assert first == second
    assert world.keys("requests/") == [KEY]


def test_a_refusal_other_than_started_before_is_an_error_so_that_the_event_is_repeated(world, upload):
    world.put(KEY, "{}")
    world.states.refuse = "ThrottlingException"

    with pytest.raises(Exception, match="ThrottlingException"):
        upload()


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (b"", "expected a JSON object such as {}"),
        (b"{", "expected a JSON object such as {}"),
        (b"\xff\xfe\x00", "expected a JSON object such as {}"),
        (b"[" * 60_000, "expected a JSON object such as {}"),
        (b"[1]", "found [1]"),
        (b'"text"', 'found "text"'),
        (b" " * 70_000, "at most 65536 bytes, found more"),
    ],
    ids=["empty", "cut", "binary", "nested", "list", "text", "oversized"],
)
def test_a_file_that_is_no_request_gets_a_note_and_starts_nothing(world, upload, content, note):
    world.put(KEY, content)

    upload()

    assert world.states.calls == []
    written = (world.cloud.objects.head(f"{KEY}.rejected.txt", 10_000) or b"").decode()
    assert note in written
    assert written.endswith("No run was started.\n")


def test_a_request_with_unknown_fields_is_refused_by_the_run_itself(world, upload):
    world.put(KEY, '{"modles": []}')

    upload()

    assert [operation for operation, _ in world.states.calls] == ["start_execution"]


def test_an_upload_that_was_deleted_meanwhile_starts_nothing(world, upload):
    upload()

    assert world.states.calls == []
    assert world.keys() == []


@given(st.text(max_size=1024), st.text("0123456789ABCDEF", max_size=40))
def test_every_key_gives_a_name_that_step_functions_accepts(key, sequencer):
    name = execution_name({"key": key, "sequencer": sequencer, "etag": "e"})

    assert len(name) <= 80
    assert name.replace("-", "").isalnum()
    assert name.isascii()
    assert name != execution_name({"key": key, "sequencer": sequencer + "0", "etag": "e"})
