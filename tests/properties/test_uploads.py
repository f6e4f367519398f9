"""Uploaded files of every kind: sent on with the meaning they have, or refused in a sentence. Runs under pytest."""

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lambdas.core.upload_request import MAX_INTEGER, MAX_KEY_BYTES, UploadRefused, execution_input, note_key
from tests.properties.budget import examples

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
# Characters as JSON may hold them; halves of surrogate pairs are none.
characters = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-MAX_INTEGER, MAX_INTEGER),
    st.floats(allow_nan=False, allow_infinity=False),
    characters,
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(characters, inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(characters, values, max_size=5)
JUNK = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: text.encode(errors="surrogatepass")),
    st.text('{}[]":,\\ue+-.0123456789NaInfity ', max_size=40).map(str.encode),
)


def _refusing(text):
    """Return what a strict reader makes of a text: another one than ours."""

    def unique(pairs):
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    def constant(name):
        raise AssertionError(name)

    return json.loads(text, object_pairs_hook=unique, parse_constant=constant)


@examples(800)
@given(documents, st.sampled_from(ENCODINGS), st.booleans(), st.sampled_from([None, 2]))
def test_a_json_object_in_any_encoding_is_sent_on_as_it_was_meant(document, encoding, escaped, indent):
    content = json.dumps(document, ensure_ascii=escaped, indent=indent).encode(encoding)

    sent = execution_input(content)

    assert sent.isascii()
    assert _refusing(sent) == document
    # No number turned into another kind of number.
    assert repr(json.loads(sent)) == repr(document)
    assert execution_input(sent.encode()) == sent


@examples(2000)
@given(JUNK)
@example(b'{"a": 1, "a": 2}')
@example(b'{"a": 1e999}')
@example(b'{"a": -NaN}')
@example(b'{"a": "\\ud83d"}')
@example(b"\x00{\x00}\x00")
def test_any_content_is_sent_on_as_strict_json_or_refused_with_what_was_found(content):
    try:
        sent = execution_input(content)
    except UploadRefused as refused:
        assert str(refused).startswith("The request: expected ")
        assert "found " in str(refused)
        assert len(str(refused)) < 300
    else:
        meant = json.loads(content)
        assert _refusing(sent) == meant
        assert isinstance(meant, dict)
        sent.encode()


@examples(500)
@given(documents, st.data())
def test_a_field_that_stands_twice_is_never_sent_on(document, data):
    name = data.draw(characters)
    inner = {**{k: v for k, v in document.items() if k != name}, name: 1}
    text = json.dumps(inner)[:-1] + f", {json.dumps(name)}: 2" + "}"

    with pytest.raises(UploadRefused, match="twice in one object"):
        execution_input(text.encode())
    with pytest.raises(UploadRefused, match="twice in one object"):
        execution_input(f'{{"outer": [{text}]}}'.encode())


@examples(500)
@given(st.integers(), st.floats(allow_nan=True))
def test_a_number_is_sent_on_only_if_every_reader_reads_the_same(integer, value):
    try:
        sent = json.loads(execution_input(f'{{"a": {integer}}}'.encode()))["a"]
    except UploadRefused:
        assert abs(integer) > MAX_INTEGER
    else:
        assert sent == integer
        assert float(sent) == integer
    try:
        read = json.loads(execution_input(json.dumps({"a": value}).encode()))["a"]
    except UploadRefused:
        assert not math.isfinite(value)
    else:
        assert read == value


@examples(500)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=1100), st.sampled_from([".rejected.txt", ".started.txt"])
)
def test_a_note_has_a_key_that_s3_takes_beside_the_file_and_of_no_other_file(name, ending):
    key = "requests/" + name.encode()[: MAX_KEY_BYTES - 15].decode(errors="ignore") + ".json"

    note = note_key(key, ending)

    assert len(note.encode()) <= MAX_KEY_BYTES
    assert note.startswith("requests/")
    assert note.endswith(ending)
    assert note != note_key(key.replace(".json", "x.json")[-MAX_KEY_BYTES:], ending)
    assert note == key + ending or len((key + ending).encode()) > MAX_KEY_BYTES
