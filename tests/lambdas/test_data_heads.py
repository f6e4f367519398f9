"""How much of a data set is read before a run is accepted: a budget of bytes and time for all files. Runs on moto."""

import pytest

from contracts.reasons import DatasetInvalid
from lambdas.core.dataset_head import head_problems
from lambdas.flows import staged

HEADER = "unique_id,ds,y\n"
ROWS = "".join(f"A,2026-{month:02d}-{day:02d},{day}.5\n" for month in range(1, 13) for day in range(1, 29))


@pytest.fixture
def small(monkeypatch):
    """Make the limits small: a whole file is 10,000 bytes at most, a head 400, and all together 15,000."""
    monkeypatch.setattr(staged, "CHECKED_BYTES", 10_000)
    monkeypatch.setattr(staged, "HEAD_BYTES", 400)
    monkeypatch.setattr(staged, "CHECKED_BYTES_IN_ALL", 15_000)


def _heads(world, clock=lambda: 0.0):
    files = [stored for stored in world.cloud.objects.listed("datasets/stocks/") if stored.size]
    found = staged.heads(world.cloud.objects, files, clock)
    return {key.rsplit("/", 1)[1]: (len(content), whole) for key, content, whole in found}


def test_files_are_read_to_the_end_as_long_as_the_bytes_last_and_then_their_heads(world, small):
    text = HEADER + ROWS
    for name in "abc":
        world.put(f"datasets/stocks/{name}.csv", text)
    assert len(text) < 10_000

    assert _heads(world) == {"a.csv": (len(text), True), "b.csv": (len(text), True), "c.csv": (400, False)}


def test_of_a_large_file_the_beginning_is_read_and_of_parquet_the_first_bytes(world, small):
    world.put("datasets/stocks/large.csv", HEADER + ROWS * 3)
    world.put("datasets/stocks/x.parquet", b"PAR1" + b"\x00" * 20_000)

    assert _heads(world) == {"large.csv": (10_000, False), "x.parquet": (400, False)}


def test_when_the_time_is_over_the_other_files_are_left_for_the_machine(world):
    for name in "abc":
        world.put(f"datasets/stocks/{name}.csv", HEADER + ROWS)
    # At the beginning, and before each file.
    moments = iter([0.0, 1.0, staged.CHECKED_SECONDS - 1, staged.CHECKED_SECONDS])

    assert list(_heads(world, lambda: next(moments))) == ["a.csv", "b.csv"]


def test_a_valid_file_is_not_refused_for_where_its_head_ends():
    rows = "".join(f'"Größe, ""{n}""\nkg",2026-01-{n:02d},{n}\n' for n in range(1, 9))
    content = f"{HEADER}{rows}".encode()

    head_problems(iter([("a.csv", content, True)]))
    head_problems(("a.csv", content[:cut], False) for cut in range(len(content)))


def test_a_header_longer_than_the_head_is_left_for_the_machine(world, small):
    for name in "ab":
        world.put(f"datasets/stocks/{name}.csv", HEADER + ROWS)
    wide = ",".join([*(f"column-{n}" for n in range(800)), "unique_id", "ds", "y"])
    world.put("datasets/stocks/wide.csv", f"{wide}\n{',' * 800}A,2026-01-01,1\n")

    assert _heads(world)["wide.csv"] == (400, False)
    head_problems(staged.heads(world.cloud.objects, world.cloud.objects.listed("datasets/stocks/")))


def test_what_a_head_shows_to_be_wrong_is_refused(world, small):
    for name in "ab":
        world.put(f"datasets/stocks/{name}.csv", HEADER + ROWS)
    world.put("datasets/stocks/c.csv", f"{HEADER}A,2026-01-01,one\n{ROWS}")

    with pytest.raises(DatasetInvalid, match=r"c\.csv, column y, row 1"):
        head_problems(staged.heads(world.cloud.objects, world.cloud.objects.listed("datasets/stocks/")))
