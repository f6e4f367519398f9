"""model_metadata.json stays within its contract whatever the data: long names, many files. Runs under pytest."""

from pathlib import Path
from typing import Any

import pytest

from contracts.documents import DocumentInvalid, dump, parse, schema
from instance.metadata import MOST_NOTES, NAME_LENGTH, NOTE_LENGTH, shortened
from instance.models.auto_ets import EtsMethod
from tests.instance.samples import BUCKET, monthly_frame, stage
from tests.instance.worker_attempt import REQUEST, work

LARGEST_BYTES = 1024 * 1024
FILES = 105


def test_long_names_and_many_files_make_a_document_that_the_controller_reads(
    s3: Any, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_arguments: Any) -> Any:
        raise ValueError("no fit " * 1000)

    monkeypatch.setattr(EtsMethod, "choose", fails)
    long_named = monthly_frame().assign(other=1)
    long_named["unique_id"] += "x" * 5000
    for n in range(FILES):
        # The rows of a few series, spread over many files.
        rows = long_named.iloc[n::FILES]
        s3.put_object(Bucket=BUCKET, Key=f"datasets/demo/{n:03d}.csv", Body=rows.to_csv(index=False).encode())
    request = {**REQUEST, "n_windows": 1, "models": ["AutoETS", "SeasonalNaive"], "freq": "MS"}
    manifest = stage(s3, tiny_weights, monthly_frame(n_series=1), request)

    assert work(s3, manifest, tmp_path / "run")[0] == 0

    content = (tmp_path / "run" / "results" / "model_metadata.json").read_bytes()
    metadata = parse("model_metadata", content)
    assert len(content) < LARGEST_BYTES // 10
    failed = metadata["models"]["AutoETS"]["failed_series"]
    assert NAME_LENGTH in {len(name) for name in failed}
    assert max(len(name) for name in failed) == NAME_LENGTH
    assert max(len(why) for why in failed.values()) <= NOTE_LENGTH
    notes = metadata["data"]["notes"]
    assert len(notes) == MOST_NOTES
    assert notes[-1].endswith(" more notes.")


def test_notes_are_cut_to_what_the_contract_takes() -> None:
    contract = schema("model_metadata")["properties"]["data"]["properties"]["notes"]

    notes = shortened(["x" * 10_000] * 1000)

    assert len(notes) == MOST_NOTES <= contract["maxItems"]
    assert {len(note) for note in notes[:-1]} == {NOTE_LENGTH}
    assert contract["items"]["maxLength"] >= NOTE_LENGTH
    assert notes[-1] == f"{1000 - MOST_NOTES + 1} more notes."
    assert shortened(["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400])
def test_a_number_that_no_reader_can_hold_is_not_written(value: float) -> None:
    with pytest.raises(DocumentInvalid, match="numbers that JSON can hold"):
        dump("model_metadata", {"models": {"AutoETS": {"metrics": {"mae": value}}}})
