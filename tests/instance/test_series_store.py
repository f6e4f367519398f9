"""A store of series: the same whatever the order of the rows, in bounded memory, with covariates."""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.documents import check
from contracts.reasons import DatasetInvalid
from instance import sorted_rows, spool
from instance.dataset import DataFile
from instance.ingest import ingest
from instance.series_store import INFO, SeriesStore, series_of


def quiet(rows: int) -> None:
    pass


def write(folder: Path, *frames: pd.DataFrame) -> list[DataFile]:
    folder.mkdir(exist_ok=True)
    files = []
    for index, frame in enumerate(frames):
        path = folder / f"{index}.{'csv' if index % 2 else 'parquet'}"
        frame.to_csv(path, index=False) if index % 2 else frame.to_parquet(path, index=False)
        files.append(DataFile(path.name, path, "0"))
    return files


def store_of(folder: Path, *frames: pd.DataFrame, batch_rows: int = 1 << 17, **request: Any) -> SeriesStore:
    wanted = check("run_request", {"n_windows": 1, "prediction_length": 3, **request})
    return ingest(write(folder, *frames), wanted, folder / "store", quiet, batch_rows)


def contents(store: SeriesStore) -> list[Any]:
    series = series_of(store)
    values = [array.tolist() for kind in (series.values, series.observed) for array in kind]
    return [series.ids, values, series.first.tolist(), store.info]


def hourly(names: list[str], length: int = 12) -> pd.DataFrame:
    hours = pd.date_range("2024-01-01", periods=length, freq="h")
    return pd.concat(
        [pd.DataFrame({"unique_id": n, "ds": hours, "y": np.arange(length) * (i + 1.0)}) for i, n in enumerate(names)],
        ignore_index=True,
    )


@given(seed=st.integers(0, 10_000), data=st.data())
@settings(max_examples=25, deadline=None)
def test_neither_order_nor_files_nor_batches_nor_partitions_change_the_series(seed: int, data: st.DataObject) -> None:
    rng = random.Random(seed)
    frame = hourly([f"s{i}" for i in range(rng.randint(1, 9))])
    frame = frame.drop(index=[i for i in range(5, len(frame), 12) if rng.random() < 0.5])
    mixed = frame.sample(frac=1, random_state=seed) if seed % 2 else frame.sort_values("ds", kind="stable")
    cut = data.draw(st.integers(1, len(mixed) - 1))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        expected = contents(store_of(Path(folder) / "a", frame))
        patch.setattr(sorted_rows, "PARTITION_ROWS", data.draw(st.sampled_from([1, 7, 30])))
        patch.setattr(sorted_rows, "RUNS_PER_SERIES", data.draw(st.sampled_from([0, 2, 1000])))
        patch.setattr(spool, "SHUFFLE_ROWS", data.draw(st.sampled_from([1, 10, 1000])))
        batch_rows = data.draw(st.sampled_from([1, 4, 1000]))
        made = store_of(Path(folder) / "b", mixed.iloc[:cut], mixed.iloc[cut:], batch_rows=batch_rows)
        found = contents(made)
    assert found[:3] == expected[:3]
    assert [note for note in found[3].notes if not note.startswith("Sorted")] == expected[3].notes
    moved = int((mixed.index.to_numpy() != frame.index.to_numpy()).sum())
    assert made.info.counts["rows_out_of_order"] == moved
    assert any(f"{moved} of {len(frame)} rows were out of order" in note for note in made.info.notes) == (moved > 0)


@pytest.mark.parametrize(("n_series", "chunks", "largest"), [(1, 1, 1), (7, 7, 1), (20, 7, 3), (600, 8, 75)])
def test_chunks_hold_every_series_once_in_the_order_of_the_names(
    tmp_path: Path, n_series: int, chunks: int, largest: int
) -> None:
    store = store_of(tmp_path, hourly([f"s{i}" for i in range(n_series)]))
    sets = [store.chunk(index) for index in range(store.chunks)]
    assert (len(sets), max(len(part.ids) for part in sets)) == (chunks, largest)
    assert [name for part in sets for name in part.ids] == sorted(f"s{i}" for i in range(n_series))
    whole = series_of(store)
    for joined, values in zip([v for part in sets for v in part.values], whole.values, strict=True):
        np.testing.assert_array_equal(joined, values)


def test_chunks_of_many_series_are_bounded(tmp_path: Path) -> None:
    store = store_of(tmp_path, hourly([f"s{i}" for i in range(2100)], length=8))
    assert (store.chunks, len(store.chunk(0).ids), len(store.chunk(8).ids)) == (9, 256, 52)


def test_flat_series_are_those_of_the_chunks(tmp_path: Path) -> None:
    frame = pd.concat([hourly(["b", "a"]), hourly(["c"], length=20)], ignore_index=True)
    store = store_of(tmp_path, frame.assign(price=frame["y"] + 1), past_covariates=["price"])
    flat, series = store.flat(), series_of(store)
    assert flat.past is not None
    for index, values in enumerate(series.values):
        span = slice(flat.starts[index], flat.starts[index + 1])
        np.testing.assert_array_equal(flat.values[span], values)
        np.testing.assert_array_equal(flat.past[:, span], [values + 1])


def test_info_counts_what_was_found(tmp_path: Path) -> None:
    frame = hourly(["a", "b", "c", "d"], length=20)
    frame.loc[frame["unique_id"] == "b", "y"] = 5.0
    frame.loc[frame["unique_id"] == "c", "y"] = np.nan
    frame = frame.drop(index=[7, *range(65, 80)])
    info = store_of(tmp_path, frame).info
    counts = {name: count for name, count in info.counts.items() if count}
    assert counts == {
        "series": 2, "constant_series": 1, "series_left_out_empty": 1, "series_left_out_short": 1,
        "gaps_filled": 1, "series_with_gaps_filled": 1,
    }  # fmt: skip
    assert (info.n_series, info.rows) == (2, 39)
    assert (info.first_ds, info.last_ds) == ("2024-01-01T00:00:00", "2024-01-01T19:00:00")


def test_every_row_is_reported_once_also_when_a_file_is_read_again(tmp_path: Path) -> None:
    frame = hourly(["a"])
    frame["ds"] = frame["ds"].astype(str) + "+02:00"
    told: list[int] = []
    ingest(write(tmp_path, hourly(["b"]), frame), check("run_request", {}) | {"n_windows": 1, "prediction_length": 3},
           tmp_path / "store", told.append, batch_rows=5)  # fmt: skip
    assert sum(told) == 24


def test_a_store_is_none_before_it_is_whole_and_replaces_an_older_one(tmp_path: Path) -> None:
    first = store_of(tmp_path, hourly(["a", "b"]))
    assert SeriesStore(tmp_path / "store").info == first.info
    with pytest.raises(DatasetInvalid, match="twice"):
        store_of(tmp_path, pd.concat([hourly(["a"]), hourly(["a"])]))
    with pytest.raises(FileNotFoundError):
        SeriesStore(tmp_path / "store")


def test_scratch_files_are_gone_afterwards(tmp_path: Path) -> None:
    shuffled = hourly(["a", "b", "c", "d"]).sort_values("ds", kind="stable")
    store_of(tmp_path, shuffled, batch_rows=5)
    assert list((tmp_path / "store" / "spool").iterdir()) == []
    assert json.loads((tmp_path / "store" / INFO).read_text())["n_series"] == 4


def test_an_interruption_passes_through(tmp_path: Path) -> None:
    def interrupt(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(write(tmp_path, hourly(["a"])), check("run_request", {}), tmp_path / "store", interrupt)
    with pytest.raises(FileNotFoundError):
        SeriesStore(tmp_path / "store")


def with_future(frame: pd.DataFrame, steps: int) -> pd.DataFrame:
    """Empty the last y of each series, so that their rows are the future."""
    from_end = frame.groupby("unique_id").cumcount(ascending=False)
    return frame.assign(y=frame["y"].where(from_end >= steps), promo=np.arange(len(frame)) + 100.0)


def test_covariates_known_in_advance_reach_beyond_the_last_value(tmp_path: Path) -> None:
    frame = with_future(hourly(["a", "b"], length=20), 3)
    store = store_of(tmp_path, frame, known_covariates=["promo"])
    series = store.chunk(1)
    assert (series.ids, len(series.values[0]), series.past) == (["b"], 17, None)
    assert series.known is not None
    assert series.known[0].tolist() == [[*np.arange(120.0, 140.0)]]
    flat = store.flat()
    assert flat.known is not None
    assert flat.known[:, flat.starts[1] : flat.starts[2]].tolist() == [[*np.arange(120.0, 137.0)]]


def test_trailing_rows_without_y_are_filled_where_nothing_is_known_in_advance(tmp_path: Path) -> None:
    series = series_of(store_of(tmp_path, with_future(hourly(["a"], length=20), 3)))
    assert series.values[0][-4:].tolist() == [16.0] * 4
    assert series.observed[0][-4:].tolist() == [True, False, False, False]


@pytest.mark.parametrize(("ahead", "lost"), [(2, 0), (3, 1)])
def test_covariates_known_for_too_few_steps_are_refused_with_what_to_do(tmp_path: Path, ahead: int, lost: int) -> None:
    frame = with_future(hourly(["a", "b"], length=20), 3)
    short = frame.iloc[: len(frame) - 3 + ahead].copy()
    short.iloc[len(short) - lost :, short.columns.get_loc("promo")] = np.nan
    with pytest.raises(DatasetInvalid, match=r"series b: .* known covariate promo for 3 steps .* found 2\. Add rows"):
        store_of(tmp_path, short, known_covariates=["promo"])


def test_missing_covariates_take_the_value_before_and_are_counted(tmp_path: Path) -> None:
    frame = with_future(hourly(["a"], length=20), 3)
    frame["price"] = frame["promo"] * 2
    frame.loc[[4, 5], "price"] = np.nan
    frame.loc[18, "promo"] = np.nan
    store = store_of(tmp_path, frame.drop(index=8), past_covariates=["price"], known_covariates=["promo"])
    series = series_of(store)
    assert series.past is not None
    assert series.known is not None
    assert series.past[0][0, 3:10].tolist() == [206.0, 206.0, 206.0, 212.0, 214.0, 214.0, 218.0]
    assert series.known[0][0, 16:].tolist() == [116.0, 117.0, 117.0, 119.0]
    assert "3 missing values of covariates filled with the value before, in 1 of 1 series." in store.info.notes


def test_a_series_begins_where_every_covariate_has_begun(tmp_path: Path) -> None:
    frame = hourly(["a", "b"], length=20).assign(price=1.0)
    frame.loc[range(4), "price"] = np.nan
    frame.loc[range(20, 40), "price"] = np.nan
    store = store_of(tmp_path, frame, past_covariates=["price"])
    series = series_of(store)
    assert (series.ids, series.values[0][0], len(series.values[0])) == (["a"], 4.0, 16)
    assert store.info.counts["series_left_out_covariates"] == 1


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (
            {},
            r"0\.parquet: expected the columns unique_id, ds, y, price, found unique_id, ds, y\. Add or rename",
        ),
        ({"price": "x"}, r"0\.parquet: column price, row 1: expected a number, found 'x' \(and 11 more rows\)"),
        ({"price": np.inf}, r"0\.parquet: column price, row 1: expected a finite number"),
    ],
)
def test_covariates_must_exist_and_be_numbers(tmp_path: Path, column: dict[str, Any], expected: str) -> None:
    with pytest.raises(DatasetInvalid, match=expected):
        store_of(tmp_path, hourly(["a"]).assign(**column), past_covariates=["price"])


MEASURE = """
import re, sys
from pathlib import Path
from contracts.documents import check
from instance.dataset import DataFile
from instance.ingest import ingest
path, folder = map(Path, sys.argv[1:])
request = check("run_request", {"n_windows": 1, "prediction_length": 3})
store = ingest([DataFile(path.name, path, "0")], request, folder, lambda rows: None)
assert sum(len(store.chunk(index).ids) for index in range(store.chunks)) == store.info.n_series
# Not ru_maxrss: it keeps the peak of the process that was forked.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(store.info.n_series, int(peak[1]) // 1024)
"""


def peak_mebibytes(folder: Path, n_series: int, by_date: bool) -> int:
    folder.mkdir()
    names = np.repeat([f"s{i}" for i in range(n_series)], 50)
    hours = np.tile(pd.date_range("2024-01-01", periods=50, freq="h"), n_series)
    frame = pd.DataFrame({"unique_id": names, "ds": hours, "y": np.arange(50.0 * n_series)})
    frame = frame.sort_values("ds", kind="stable") if by_date else frame
    frame.to_parquet(folder / "a.parquet", index=False)
    command = [sys.executable, "-c", MEASURE, str(folder / "a.parquet"), str(folder / "store")]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]).stdout
    kept, peak = map(int, said.split())
    assert kept == n_series
    return peak


@pytest.mark.parametrize("by_date", [False, True])
def test_memory_does_not_grow_with_the_number_of_series(tmp_path: Path, by_date: bool) -> None:
    few, many = (peak_mebibytes(tmp_path / str(n), n, by_date) for n in (10_000, 40_000))
    assert many - few < 60
