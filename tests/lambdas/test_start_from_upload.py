"""Event on requests/: one upload is one run, or a note says why there is none. Runs on moto."""

import codecs
import json
from datetime import datetime
from itertools import count, pairwise

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lambdas import start_from_upload
from lambdas.adapters import executions, upload_claims
from lambdas.adapters.clients import client
from lambdas.adapters.upload_claims import UploadClaims
from lambdas.core.upload_request import UPLOAD_SECONDS, Upload, UploadClaim, upload_of
from lambdas.flows import uploading

KEY = "requests/nightly.json"
NUMBERS, FIXTURES = count(), [HealthCheck.function_scoped_fixture]
CONFLICT = {"Code": "TransactionConflict"}
REJECTED, STARTED = f"{KEY}.rejected.txt", f"{KEY}.started.txt"


@pytest.fixture
def uploaded(world, event):
    """Return a function that uploads a file and gives S3's event of it."""

    def put(content, name="s3_request_uploaded", key=KEY, after_seconds=0, **changes):
        world.put(key, content)
        happened = event(name)
        etag = world.cloud.objects.listed(key)[0].etag
        happened["detail"]["object"].update(key=key, etag=etag, **changes)
        moment = datetime.fromisoformat(happened["time"]).timestamp() + after_seconds
        happened["time"] = datetime.fromtimestamp(moment).astimezone().isoformat()
        return happened

    return put


@pytest.fixture
def deliver(world):
    """Return a function that delivers an event."""
    return lambda happened: start_from_upload.handler(happened, world.context)


def _started(world):
    return [given for operation, given in world.states.calls if operation == "start_execution"]


def _note(world, key=REJECTED):
    return (world.cloud.objects.head(key, 100_000) or b"").decode()


def test_an_upload_starts_a_run_with_the_file_as_its_request(world, uploaded, deliver, event):
    happened = uploaded('{"dataset": "stocks"}')

    deliver(happened)

    assert _started(world) == [{
        "stateMachineArn": event("stepfunctions_execution_succeeded")["detail"]["stateMachineArn"],
        "name": upload_of(happened, 0).execution,
        "input": '{"dataset": "stocks"}',
    }]  # fmt: skip
    assert world.keys("requests/") == [KEY]


def test_the_same_event_twice_asks_for_the_same_execution(world, uploaded, deliver):
    happened = uploaded("{}")

    deliver(happened)
    world.states.refuse = "ExecutionAlreadyExists"
    deliver(happened)

    first, second = _started(world)
    assert first == second
    assert world.keys("requests/") == [KEY]


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError", "AccessDeniedException"])
def test_a_refusal_that_may_pass_is_an_error_so_that_the_event_is_repeated(world, uploaded, deliver, code):
    happened = uploaded("{}")
    world.states.refuse = code

    with pytest.raises(Exception, match=code):
        deliver(happened)
    world.states.refuse = ""
    deliver(happened)

    first, second = _started(world)
    assert first == second
    assert world.keys("requests/") == [KEY]


@pytest.mark.parametrize("code", ["InvalidExecutionInput", "StateMachineDoesNotExist", "StateMachineDeleting"])
def test_a_refusal_for_good_is_noted(world, uploaded, deliver, code):
    happened = uploaded("{}")
    world.states.refuse = code

    deliver(happened)

    assert f"Step Functions refused to start a run: {code}: refused by the test." in _note(world)
    assert _note(world).endswith("No run was started.\n")


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (b"", "expected a JSON object such as {}"),
        (b"{", "expected a JSON object such as {}"),
        (b"\xff\xfe\x00", "found byte 2 that is no UTF-16; save the file as UTF-8"),
        (b'{"dataset": "\xed\xa0\x80"}', "found byte 13 that is no UTF-8; save the file as UTF-8"),
        (b"[" * 60_000, "found too many levels of brackets"),
        (b'{"a": ' + b"[" * 20 + b"]" * 20 + b"}", "found more than 20 levels of brackets"),
        (b"[1]", "found [1]"),
        (b'"text"', 'found "text"'),
        (b" " * 70_000, "at most 65536 bytes, found more"),
        (b'{"max_cost_usd": NaN}', "found NaN, which is no JSON number"),
        (b'{"max_cost_usd": -Infinity}', "found -Infinity, which is no JSON number"),
        (b'{"max_cost_usd": 1e400}', "found the number 1e400, which is beyond what a double holds"),
        (b'{"max_cost_usd": 0.1e-400}', "found the number 0.1e-400, which is beyond what a double holds"),
        (b'{"seed": 9007199254740993}', "found the number 9007199254740993; expected integers from -9007199254740991"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "found the number 999999999999999999999999999999; expected integers"),
        (b'{"models": ["AutoETS"], "models": []}', "found the field 'models' twice in one object; keep one"),
        (b'{"a": {"b\\n": 1, "b\\n": 1}}', r"found the field 'b\\n' twice in one object; keep one"),
        (b'{"dataset": "\\ud800"}', "found half of a surrogate pair in a text"),
        (b'{"\\udfff": 1}', "found half of a surrogate pair in a text"),
        ("\ufeff\ufeff{}".encode(), "expected a JSON object such as {}"),
    ],
)
def test_a_file_that_is_no_request_gets_a_note_and_starts_nothing(world, uploaded, deliver, content, note):
    deliver(uploaded(content))

    assert _started(world) == []
    assert note in _note(world)
    assert _note(world).endswith("No run was started.\n")


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + '{"dataset": "Ölpreise"}'.encode(),
        '{"dataset": "Ölpreise"}'.encode("utf-16"),
        '{"dataset": "Ölpreise"}'.encode("utf-16-le"),
        '{"dataset": "Ölpreise"}'.encode("utf-16-be"),
        '{"dataset": "Ölpreise"}'.encode("utf-32"),
        '\r\n{"dataset": "Ölpreise"}\r\n'.encode(),
    ],
    ids=["utf-8 with a mark", "utf-16 with a mark", "utf-16-le", "utf-16-be", "utf-32", "lines of Windows"],
)
def test_a_file_in_another_encoding_of_json_starts_the_run_that_it_asks_for(world, uploaded, deliver, content):
    deliver(uploaded(content))

    ((given_input),) = [given["input"] for given in _started(world)]
    assert given_input == '{"dataset": "\\u00d6lpreise"}'
    assert world.keys("requests/") == [KEY]


def test_a_request_with_unknown_fields_is_refused_by_the_run_itself(world, uploaded, deliver):
    deliver(uploaded('{"modles": []}'))

    assert [given["input"] for given in _started(world)] == ['{"modles": []}']


def test_an_upload_that_was_deleted_meanwhile_starts_nothing(world, deliver, event):
    deliver(event("s3_request_uploaded"))

    assert world.states.calls == []
    assert world.keys() == []


def test_each_of_two_requests_on_one_key_is_started_or_noted_and_none_twice(world, uploaded, deliver):
    first = uploaded('{"n_windows": 1}')
    second = uploaded('{"n_windows": 2}', "s3_request_uploaded_again")

    deliver(first)
    deliver(second)

    assert [given["input"] for given in _started(world)] == ['{"n_windows": 2}']
    assert "found it replaced before it was read. The newer one starts a run of its own." in _note(world)
    assert first["detail"]["object"]["etag"] in _note(world)


@pytest.mark.parametrize("refuse", ["", "ThrottlingException"], ids=["started", "only claimed"])
def test_an_event_that_comes_again_after_its_file_was_replaced_means_the_file_as_it_was(
    world, uploaded, deliver, refuse
):
    first = uploaded('{"n_windows": 1}')
    world.states.refuse = refuse
    if refuse:
        with pytest.raises(Exception, match=refuse):
            deliver(first)
    else:
        deliver(first)
    world.states.refuse = ""
    uploaded('{"n_windows": 2}', "s3_request_uploaded_again")

    deliver(first)

    before, after = _started(world)
    assert before == after
    assert after["input"] == '{"n_windows": 1}'
    assert world.keys("requests/") == [KEY]


def test_one_upload_whose_put_was_repeated_is_one_run_and_a_note_names_it(world, uploaded, deliver):
    first = uploaded("{}")
    second = uploaded("{}", "s3_request_uploaded_again", after_seconds=UPLOAD_SECONDS - 2)

    deliver(first)
    deliver(second)
    deliver(second)

    assert len(_started(world)) == 3
    assert {given["name"] for given in _started(world)} == {upload_of(first, 0).execution}
    arn = executions.arn_of(world.cloud.settings.state_machine_arn, upload_of(first, 0).execution)
    assert _note(world, STARTED).count(arn) == 1
    assert world.keys("requests/") == [KEY, STARTED]


def test_such_events_may_come_in_any_order_and_the_first_may_have_died(world, uploaded, deliver):
    first = uploaded("{}")
    second = uploaded("{}", "s3_request_uploaded_again")
    world.states.refuse = "ThrottlingException"
    with pytest.raises(Exception, match="ThrottlingException"):
        deliver(second)
    world.states.refuse = ""
    world.clock.now += 300

    deliver(first)

    assert {given["name"] for given in _started(world)} == {upload_of(second, 0).execution}


def test_the_same_upload_later_starts_a_new_run(world, uploaded, deliver):
    first = uploaded("{}")
    later = uploaded("{}", "s3_request_uploaded_again", after_seconds=UPLOAD_SECONDS)

    for happened in (first, later, first, later):
        deliver(happened)

    names = [given["name"] for given in _started(world)]
    assert names == [upload_of(e, 0).execution for e in (first, later, first, later)]
    assert len(set(names)) == 2
    assert world.keys("requests/") == [KEY]


@given(st.data())
@settings(max_examples=30, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=FIXTURES)
def test_uploads_of_one_content_in_any_order_start_runs_that_are_more_than_a_minute_apart(world, data):
    moments = data.draw(st.lists(st.integers(0, 400), min_size=1, max_size=8))
    events = list(enumerate(moments))
    deliveries = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=4))))
    etag, started = str(next(NUMBERS)), {}
    for number, at in deliveries:
        upload = Upload(KEY, etag, str(number), "", at)
        kept = UploadClaims("runs").claim(UploadClaim(upload.claim_ids, upload.execution, at, "{}"))
        assert kept.is_close_to(at)
        started[kept.execution] = kept.uploaded_at

    assert all(later - earlier > UPLOAD_SECONDS for earlier, later in pairwise(sorted(started.values())))


def test_a_claim_that_meets_another_one_is_made_again(world, uploaded, deliver, monkeypatch):
    real, conflicts = client("dynamodb"), iter(range(2))

    class Met:
        def __getattr__(self, name):
            return getattr(real, name)

        def transact_write_items(self, **given):
            for _ in conflicts:
                answer = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": [CONFLICT] * 3}
                raise ClientError(answer, "TransactWriteItems")
            return real.transact_write_items(**given)

    monkeypatch.setattr(upload_claims, "client", lambda *_: Met())
    monkeypatch.setattr(upload_claims.time, "sleep", lambda _seconds: None)

    deliver(uploaded("{}"))

    assert len(_started(world)) == 1


def test_the_same_content_on_another_key_is_another_run(world, uploaded, deliver):
    deliver(uploaded("{}"))
    deliver(uploaded("{}", key="requests/weekly.json"))

    assert len({given["name"] for given in _started(world)}) == 2


def test_a_claim_is_forgotten_by_the_table_and_a_run_is_not(world, uploaded, deliver):
    world.register()
    deliver(uploaded("{}"))

    items = client("dynamodb").scan(TableName="runs")["Items"]
    expiring = {item["id"]["S"]: int(item["expires_at"]["N"]) for item in items if "expires_at" in item}
    ((name, at),) = expiring.items()
    assert name.startswith("upload#")
    assert at > world.clock.now + 6 * 3600


@pytest.mark.parametrize("name", ["a" * 1005, "\u20ac" * 335, "\U0001f4c8" * 251])
def test_the_note_of_a_key_as_long_as_s3_takes_can_be_written(world, uploaded, deliver, name):
    key, other = f"requests/{name[:-1]}.json", f"requests/{name[:-2]}x.json"
    for one in (key, other):
        deliver(uploaded("[1]", key=one))

    notes = [found for found in world.keys("requests/") if found.endswith(".rejected.txt")]
    assert len(notes) == 2
    assert all(len(found.encode()) <= 1024 for found in notes)


def test_notes_are_put_on_top_of_earlier_ones(world, uploaded, deliver):
    for content in ("[1]", "[2]", "[1]"):
        deliver(uploaded(content))

    assert [line for line in _note(world).splitlines() if "found [" in line] == [
        f"The request: expected a JSON object such as {{}}, found [{n}]. No run was started." for n in (2, 1)
    ]


def test_two_notes_at_once_are_both_kept(world, uploaded, deliver, monkeypatch):
    real, happened = world.cloud.objects.replace, uploaded("[1]")
    others = iter([b"of another upload\n"])

    def overtaken(self, key, content, etag, content_type):
        for other in others:
            world.put(key, other)
        return real(key, content, etag, content_type)

    monkeypatch.setattr(type(world.cloud.objects), "replace", overtaken)

    deliver(happened)

    assert "found [1]" in _note(world)
    assert _note(world).endswith("of another upload\n")


def test_an_event_without_etag_and_time_starts_what_is_there(world, deliver):
    world.put(KEY, "{}")

    deliver({"detail": {"object": {"key": KEY}}})

    assert [given["input"] for given in _started(world)] == ["{}"]


@given(st.text(max_size=1024), st.text("0123456789ABCDEF", max_size=40))
def test_every_key_gives_a_name_that_step_functions_accepts(key, sequencer):
    name = Upload(key, "e", sequencer, "", 0).execution

    assert len(name) <= 80
    assert name.replace("-", "").isalnum()
    assert name.isascii()
    assert name != Upload(key, "e", sequencer + "0", "", 0).execution


def test_a_note_that_others_write_all_the_time_is_an_error_and_so_repeated(world, uploaded, deliver, monkeypatch):
    happened = uploaded("[1]")
    monkeypatch.setattr(type(world.cloud.objects), "replace", lambda *_: False)

    with pytest.raises(RuntimeError, match=f"found it written by others {uploading.NOTE_TRIES} times"):
        deliver(happened)


def test_the_input_is_read_as_it_was_written(world, uploaded, deliver):
    text = '{"seed": 9007199254740991, "max_cost_usd": 0.1, "a": [-0.0, 1e-5, "\\u0000\\ud83d\\ude00", null, true]}'

    deliver(uploaded(text))

    ((given_input),) = [given["input"] for given in _started(world)]
    assert json.loads(given_input) == json.loads(text)
