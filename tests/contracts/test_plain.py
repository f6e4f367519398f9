"""Text from outside: no control character gets through, and everything else does."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.documents import DocumentInvalid, check, schema
from contracts.layout import is_folder_name, is_path_below
from contracts.plain import plain, plain_document

TRICKS = [
    "../secret.csv", "a/../../secret.csv", "/etc/passwd", "a//b.csv", "./b.csv", "a/.", "a/..", "..", "", "a/",
    "a\\..\\b.csv", "a\0b.csv", "a\nb.csv", "a\x1b[2Jb.csv", "\u202egpj.csv", "a\x7f.csv", "a\u2028b.csv",
]  # fmt: skip


@given(st.text())
def test_nothing_that_moves_a_terminal_is_left(text):
    shown = plain(text)

    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert plain(shown) == shown


def test_what_is_left_out_is_shown():
    assert plain("a\x1b[31mred\r\nRun completed\u202e") == "a\\x1b[31mred\\r\\nRun completed\\u202e"
    assert plain("two\nlines\x07", keep="\n") == "two\nlines\\x07"
    assert plain("Grün, 数据 | <b>&amp;</b> `$(x)`") == "Grün, 数据 | <b>&amp;</b> `$(x)`"


def test_a_document_is_made_plain_to_its_depth():
    document = {"no\x1btes": ["a\n", {"n": 1, "t": "\x9b", "none": None}]}

    assert plain_document(document) == {"no\\x1btes": ["a\\n", {"n": 1, "t": "\\x9b", "none": None}]}


@pytest.mark.parametrize("rest", TRICKS)
def test_a_key_with_a_trick_in_it_is_no_path(rest):
    assert not is_path_below(f"datasets/a/{rest}", "datasets/a/")


@pytest.mark.parametrize("rest", ["b.csv", "2026/ä b+1.parquet", "..b/c..csv", ".hidden.csv", "a...b/c", "数据.csv"])
def test_other_keys_are_paths(rest):
    assert is_path_below(f"datasets/a/{rest}", "datasets/a/")
    assert not is_path_below(f"datasets/b/{rest}", "datasets/a/")


def test_names_of_folders_are_those_that_a_request_can_give():
    names = ["a", "A-b_c.1", "..", ".a", "a/b", "a\n", "<b>", "a b", "x" * 100, "x" * 101, "", "a\x1b"]
    for name in names:
        allowed = True
        try:
            check("run_request", {"dataset": name})
        except DocumentInvalid:
            allowed = False
        assert is_folder_name(name) is allowed, name
    properties = schema("run_request")["properties"]
    assert properties["dataset"]["pattern"] == properties["chronos_weights"]["pattern"]
