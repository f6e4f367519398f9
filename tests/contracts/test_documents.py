"""Contract documents: schemas, defaults, refusals that name the field. Runs under pytest, offline."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.documents import SCHEMA_FOLDER, DocumentInvalid, check, dump, parse, schema

NAMES = sorted(path.name.removesuffix(".schema.json") for path in Path(SCHEMA_FOLDER).glob("*.schema.json"))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def refusal_of(read, name, content):
    """Return the refusal of a document, None when it was accepted."""
    try:
        read(name, content)
    except DocumentInvalid as error:
        return error
    return None


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_compiles_and_refuses_what_is_no_object(name):
    with pytest.raises(DocumentInvalid, match=f"{name}: expected object, found 7"):
        check(name, 7)


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_has_a_title_and_says_what_the_document_is_for(name):
    assert schema(name)["title"]
    assert len(schema(name)["description"]) > 20


def test_every_field_of_a_request_has_a_default_and_a_description():
    for name, field in schema("run_request")["properties"].items():
        assert "default" in field, name
        assert field["description"].endswith("."), name


def test_an_empty_request_gets_every_default():
    fields = schema("run_request")["properties"]

    request = check("run_request", {})

    assert request == {name: field["default"] for name, field in fields.items()}


def test_the_caller_s_document_is_left_as_it_was():
    given_request = {"models": ["AutoETS"]}

    check("run_request", given_request)["models"].append("changed")

    assert given_request == {"models": ["AutoETS"]}


def test_an_unknown_field_is_refused_with_the_nearest_name():
    with pytest.raises(DocumentInvalid) as caught:
        check("run_request", {"modles": ["AutoETS"]})

    assert caught.value.field == "modles"
    assert "did you mean models?" in str(caught.value)


def test_an_unknown_field_like_no_other_is_refused_with_the_list_of_fields():
    with pytest.raises(DocumentInvalid) as caught:
        check("run_request", {"zzz": 1})

    assert "did you mean" not in str(caught.value)
    assert "max_cost_usd" in str(caught.value)


def test_an_unknown_field_inside_a_field_is_named_with_its_path(event):
    report = event("system_state_running")
    report["progress"]["percent"] = 10

    with pytest.raises(DocumentInvalid) as caught:
        check("system_state", report)

    assert caught.value.field == "progress.percent"


def test_a_wrong_entry_of_a_list_is_named_by_its_index():
    with pytest.raises(DocumentInvalid) as caught:
        check("run_request", {"models": ["AutoETS", "Prophet"]})

    assert caught.value.field == "models[1]"
    assert '"ChronosZeroShot"' in caught.value.expected
    assert caught.value.found == '"Prophet"'


@pytest.mark.parametrize(
    ("request_document", "field", "expected"),
    [
        ({"n_windows": "three"}, "n_windows", "integer"),
        ({"dataset": 5}, "dataset", "string or null"),
        ({"n_windows": 0}, "n_windows", "at least 1"),
        ({"n_windows": 101}, "n_windows", "at most 100"),
        ({"max_cost_usd": 0}, "max_cost_usd", "more than 0"),
        ({"quantile_levels": [1]}, "quantile_levels[0]", "less than 1"),
        ({"models": []}, "models", "at least this many entries: 1"),
        ({"models": ["AutoETS", "AutoETS"]}, "models", "no value twice"),
        ({"dataset": "../secrets"}, "dataset", "text that matches"),
        ({"nodes": 2}, "nodes", "exactly 1"),
        ({"allow_cpu": "yes"}, "allow_cpu", "boolean"),
        ({"seed": True}, "seed", "integer"),
    ],
)
def test_a_wrong_value_is_refused_with_field_expectation_and_finding(request_document, field, expected):
    with pytest.raises(DocumentInvalid) as caught:
        check("run_request", request_document)

    assert caught.value.field == field
    assert expected in caught.value.expected
    assert str(caught.value).endswith(f"found {caught.value.found}.")


def test_a_whole_number_written_with_a_point_becomes_an_integer():
    request = check("run_request", {"n_windows": 3.0, "boot_timeout_seconds": 9e2, "max_runtime_minutes": 0.5})

    assert json.dumps([request["n_windows"], request["boot_timeout_seconds"]]) == "[3, 900]"
    assert request["max_runtime_minutes"] == 0.5


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(DocumentInvalid) as caught:
        check("run_request", {"dataset": "x" * 100_000})

    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_know_are_refused(constant):
    with pytest.raises(DocumentInvalid, match=f"{constant} is not JSON"):
        parse("run_request", f'{{"max_cost_usd": {constant}}}')


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400, "-1" + "0" * 400, "1" + "0" * 5000])
def test_numbers_that_no_reader_can_hold_are_refused_in_every_document(name, number):
    for text in (f'{{"schema_version": {number}}}', f'{{"models": {{"A": {{"metrics": {{"mae": {number}}}}}}}}}'):
        with pytest.raises(DocumentInvalid, match=f"{name}: expected (numbers that JSON can hold|a JSON document)"):
            parse(name, text)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', '{"models": {"A": 1, "B": 2, "A": 1}}', '[{"a": 1, "\\u0061": 1}]']
)
def test_a_field_that_stands_twice_is_refused_in_every_document(name, text):
    with pytest.raises(DocumentInvalid, match=r"the field [aA] twice in one object"):
        parse(name, text)


@pytest.mark.parametrize(("change", "expected"), [
    ({f"model-{n}": {} for n in range(21)}, "at most this many fields: 20"),
    ({"m" * 101: {}}, "names of fields that follow {'maxLength': 100}"),
])  # fmt: skip
def test_metadata_of_more_models_than_there_are_is_refused(change, expected):
    document = {
        "schema_version": 1, "run_id": "r", "created_at": "c", "request": {},
        "data": {
            "dataset": "d", "sha256": "0", "series": 1, "rows": 1, "freq": "D", "season_length": 7,
            "prediction_length": 7, "n_windows": 1, "first_ds": "f", "last_ds": "l",
        },
        "environment": {"sha256": "0", "packages": {}, "python": "3", "device": "cpu", "dtype": "float32"},
        "models": {name: {"metrics": {}, "seconds": 1, "backtest_path": "b", "forecast_path": "f"} for name in change},
    }  # fmt: skip
    with pytest.raises(DocumentInvalid) as caught:
        check("model_metadata", document)

    assert caught.value.field.startswith("models")
    assert expected in caught.value.expected


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"{", b"null", b"[]", b'"text"', b"[" * 200_000])
def test_text_that_is_no_json_object_is_refused(text):
    with pytest.raises(DocumentInvalid, match="run_request: expected"):
        parse("run_request", text)


@pytest.mark.parametrize("field", ["dataset", "unknown"])
def test_a_deeply_nested_document_is_refused_not_crashed_on(field):
    # Around the interpreter's limit of about 1,000 reading may succeed where writing it again does not.
    for depth in (100, *range(900, 1010, 3), 5000):
        with pytest.raises(DocumentInvalid):
            parse("run_request", f'{{"{field}": ' + "[" * depth + "]" * depth + "}")


@pytest.mark.parametrize("name", ["booting", "running", "completed", "failed", "interrupted"])
def test_a_report_survives_writing_and_reading(event, name):
    report = event(f"system_state_{name}")

    assert parse("system_state", dump("system_state", report)) == report


def test_a_document_that_breaks_its_contract_is_not_written(event):
    with pytest.raises(DocumentInvalid, match="status: expected one of"):
        dump("system_state", {**event("system_state_running"), "status": "sleeping"})


@pytest.mark.parametrize(
    "bad", [{"seq": 0}, {"attempt": 6}, {"run_id": "x"}, {"instance_id": "i-0"}, {"message": "m" * 501}]
)
def test_a_report_out_of_its_bounds_is_refused(event, bad):
    with pytest.raises(DocumentInvalid) as caught:
        check("system_state", {**event("system_state_running"), **bad})

    assert caught.value.field == next(iter(bad))


@given(json_values)
def test_any_document_is_either_checked_or_refused_with_a_reason(document):
    for name in NAMES:
        error = refusal_of(check, name, document)

        assert error is None or (error.field and error.expected)


@given(st.binary(max_size=200))
def test_any_bytes_are_either_parsed_or_refused(content):
    error = refusal_of(parse, "run_request", content)

    assert error is None or error.found
