"""Data files that are refused before money is spent, with file, column and row. Runs under pytest, offline."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.reasons import DatasetInvalid
from lambdas.core.dataset_head import check_csv, check_parquet, head_problems

KEY = "datasets/stocks/prices.csv"
HEAD = "unique_id,ds,y\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns unique_id, ds, y, found no header"),
        ("id,ds,y\nA,2026-01-01,1\n", "found id, ds, y; add unique_id"),
        (HEAD, "at least one row below the header"),
        (HEAD + "A,2026-01-01\n", "row 1: expected 3 fields or more, found 2"),
        (HEAD + "A,2026-01-01,1\n,2026-01-02,2\n", "column unique_id, row 2: expected a name"),
        (HEAD + "A,01/31/2026,1\n", "column ds, row 1: expected a timestamp like 2026-01-31"),
        (HEAD + "A,2026-01-01,1\nA,2026-01-01,2\n", "column ds, row 2: expected each timestamp once"),
        (HEAD + "A,2026-01-01,1\nA,2026-01-01T00:00,2\n", "row 2: expected each timestamp once"),
        (HEAD + "A,2026-01-01,ten\n", "column y, row 1: expected a number, found 'ten'"),
        (HEAD + "A,2026-01-01,1_000\n", "column y, row 1: expected a number, found '1_000'"),
        (HEAD + "A,2026-01-01,1\n\nA,2026-01-02,x\n", "column y, row 2: expected a number"),
        (HEAD + '"' + "x" * 200_000 + '",2026-01-01,1\n', "expected CSV text, found a row that cannot be read"),
        (HEAD + "A,2026-01-01,inf\n", "column y, row 1: expected a finite number"),
        (HEAD + "A,2026-01-01,\nA,2026-01-02,NaN\n", "column y: expected numbers, found only empty or NaN"),
    ],
)  # fmt: skip
def test_a_csv_that_cannot_be_used_is_refused_with_file_column_and_row(text, message):
    with pytest.raises(DatasetInvalid) as caught:
        check_csv(KEY, text.encode(), whole=True)

    assert caught.value.message.startswith(KEY)
    assert message in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "A,2026-01-02,2\nA,2026-01-01,1\n",
        HEAD + "A,2026-01-01,1\n\nA,2026-01-02,\n",
        "y,extra,ds,unique_id\n1,x,2026-01-01T12:00:00,A\n",
        HEAD + 'A,2026-01-01,1\r\n"B, with comma",2026-01-01,1e-3\r\n',
        HEAD + "A,2026-01-01,1\nA,2026-01-02,N/A\nA,2026-01-03,None\n",
        HEAD + "A\u2028B,2026-01-01,1\n",
    ],
    ids=["unsorted", "with gaps", "columns in any order", "quoted, CRLF", "missing values", "odd line separator"],
)
def test_a_csv_that_the_instance_can_handle_is_accepted(text):
    check_csv(KEY, b"\xef\xbb\xbf" + text.encode(), whole=True)


def test_of_a_head_the_cut_last_line_is_left_out():
    check_csv(KEY, (HEAD + "A,2026-01-01,1\nA,2026-0").encode(), whole=False)

    with pytest.raises(DatasetInvalid, match="row 2"):
        check_csv(KEY, (HEAD + "A,2026-01-01,1\nA,2026-0").encode(), whole=True)


def test_text_that_is_not_utf_8_is_refused():
    with pytest.raises(DatasetInvalid, match="expected UTF-8 text, found byte 15"):
        check_csv(KEY, HEAD.encode() + "é".encode("latin-1") + b",2026-01-01,1\n", whole=True)


def test_a_file_that_is_only_called_parquet_is_refused():
    check_parquet("a.parquet", b"PAR1....")
    with pytest.raises(DatasetInvalid, match=r"a\.parquet: expected a Parquet file"):
        check_parquet("a.parquet", b"unique_id,ds,y\n")


def test_the_first_file_that_cannot_be_used_is_named():
    files = [("ok.csv", (HEAD + "A,2026-01-01,1\n").encode(), True), ("bad.parquet", b"x", True)]

    with pytest.raises(DatasetInvalid, match=r"bad\.parquet"):
        head_problems(iter(files))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: (HEAD + text).encode()), st.booleans())
def test_any_content_is_accepted_or_refused_as_invalid_and_nothing_else(content, whole):
    try:
        check_csv(KEY, content, whole)
    except DatasetInvalid as error:
        refused = error.message
    else:
        refused = KEY

    assert refused.startswith(KEY)


def test_the_instance_and_the_controller_take_the_same_marks_for_missing():
    source = (Path(__file__).parent.parent.parent.parent / "instance" / "dataset.py").read_text()
    (marks,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MISSING_MARKS"
    ]

    for mark in marks:
        check_csv(KEY, (HEAD + f"A,2026-01-01,1\nA,2026-01-02,{mark}\n").encode(), whole=True)


def test_a_decimal_comma_is_refused_before_anything_is_launched():
    with pytest.raises(
        DatasetInvalid, match=r"row 2: expected 3 fields as in the header, found 4.*decimals with a point"
    ):
        check_csv(KEY, (HEAD + "A,2026-01-01,1\nA,2026-01-02,1,5\n").encode(), whole=True)


def test_a_trailing_comma_is_no_field():
    check_csv(KEY, (HEAD + "A,2026-01-01,1,\nA,2026-01-02,2,\n").encode(), whole=True)
