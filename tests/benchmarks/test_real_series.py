"""The real series: read from files like those in the packages, and split without overlap. Runs anywhere."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from benchmarks.real_series import LONGEST, Group, load
from benchmarks.series_files import columns, from_long, one_each, together, zipped_columns, zipped_long
from benchmarks.series_groups import GROUPS

CSV = b"when,y,z\n2020-01,1,5\n2020-02,NA,6\n2020-03,3,7\n"


def zipped(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inside.csv", content)
    return buffer.getvalue()


def test_columns_become_series_with_what_is_missing_as_nan():
    found = columns("y", "z", prefix="p ")(CSV)

    np.testing.assert_array_equal(found["p y"], [1, np.nan, 3])
    np.testing.assert_array_equal(found["p z"], [5, 6, 7])


def test_files_of_one_series_each_keep_their_names():
    found = one_each(["first", "second"], "z")(CSV, CSV.replace(b"7", b"8"))

    assert found["first"].tolist() == [5, 6, 7]
    assert found["second"].tolist() == [5, 6, 8]


def test_a_missing_file_is_not_passed_over():
    with pytest.raises(ValueError, match="shorter"):
        one_each(["first", "second"], "z")(CSV)


def test_several_readers_take_a_file_each():
    found = together(columns("y"), zipped_columns("z"))(CSV, zipped(CSV))

    assert list(found) == ["y", "z"]


def test_long_files_are_split_by_series():
    found = zipped_long(zipped(b"series_id,value\nb,1\na,2\nb,3\n"))

    assert {name: values.tolist() for name, values in found.items()} == {"a": [2], "b": [1, 3]}
    frame = pd.DataFrame({"unique_id": ["x", "y", "x"], "ds": [1, 1, 2], "y": [1.0, 2.0, 3.0]})
    assert from_long(frame)["x"].tolist() == [1, 3]


def test_loading_drops_missing_values_and_what_is_long_ago():
    values = np.arange(LONGEST + 10.0)
    values[-2] = np.nan
    group = Group("g", "h", 24, 24, 1, True, (), lambda: {"a": values})

    found = load(group)["a"]

    assert len(found) == LONGEST
    assert found[-2:].tolist() == [LONGEST + 7, LONGEST + 9]


def test_no_file_is_both_looked_at_and_kept_aside():
    looked_at, kept_aside = (
        {(source.package, source.member) for group in GROUPS if group.kept_aside == side for source in group.sources}
        for side in (False, True)
    )

    assert looked_at
    assert kept_aside
    assert not looked_at & kept_aside
    assert len({group.name for group in GROUPS}) == len(GROUPS)


def test_every_frequency_is_among_the_series_kept_aside():
    assert {group.frequency for group in GROUPS if group.kept_aside} == {"h", "D", "W", "MS", "QS", "YS"}
