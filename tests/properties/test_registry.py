"""Random interleavings of runs that end and write the registry: what it has shown, it goes on showing. For pytest."""

import json

from hypothesis import given
from hypothesis import strategies as st

from lambdas.core.acceptance import checked_request
from lambdas.core.records import RunRecord
from lambdas.core.registry import read_model, shown_entries
from tests.properties.budget import drawn, examples

KEPT = 3
RUN_IDS = [f"20261123-18000{n}" for n in range(5)]
# Which of four writers does something next, and for which run; a writer takes its steps in their order.
steps = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(RUN_IDS), st.booleans()), min_size=4, max_size=60)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def record(run_id, ended):
    """Return the record of a run as it is, or as the table's index still has it."""
    return RunRecord(
        run_id=run_id, execution_arn=f"arn:{run_id}", prefix=f"phase1/{run_id}/", request=checked_request({}),
        created_at=1, deadline_at=2, status="completed" if ended else "training", ended_at=5 if ended else 0,
    )  # fmt: skip


class Writer:
    """One invocation that writes the registry: it reads the file, then the table, then writes on condition."""

    def __init__(self, run_id):
        self.run_id, self.read, self.records = run_id, None, None

    def step(self, bucket, ended, indexed):
        if self.read is None:
            self.read = (bucket.content, bucket.version)
        elif self.records is None:
            others = [record(run_id, state) for run_id, state in indexed.items() if run_id != self.run_id]
            self.records = [record(self.run_id, self.run_id in ended), *sorted(others, key=lambda r: r.run_id)]
        else:
            content, version = self.read
            model = read_model(self.records, "bucket", 9, shown_entries(content), most=KEPT)
            written = bucket.replace(json.dumps(model).encode(), version)
            # A lost race is begun anew, with the file and then the table.
            self.read, self.records = None, None
            return written
        return False


class Bucket:
    """The registry's object, and whether what it showed stays shown."""

    def __init__(self):
        self.content, self.version = None, 0

    def replace(self, content, version):
        if version != self.version:
            return False
        before, after = shown(self.content), shown(content)
        newest = sorted(before | after, reverse=True)[:KEPT]
        assert set(after) == set(newest), "a run that is among the newest was dropped"
        gone_back = [run_id for run_id in newest if before.get(run_id) and not after[run_id]]
        assert not gone_back, f"{gone_back} ended, and are shown as going on"
        self.content, self.version = content, version + 1
        return True


def shown(content):
    return {entry["run_id"]: entry["end_time"] for entry in shown_entries(content)}


@examples(300)
@given(steps)
def test_the_registry_never_goes_back_behind_what_it_has_shown(taken):
    drawn["registry interleavings"] += 1
    bucket, ended, writers = Bucket(), set(), {}
    # What the index shows of each run: nothing, as going on, or as ended. It lags behind, and never goes back.
    indexed = {}
    for turn, run_id, catches_up in taken:
        if catches_up:
            indexed[run_id] = run_id in ended
        writer = writers.get(turn)
        if writer is None:
            ended.add(run_id)
            writer = writers[turn] = Writer(run_id)
        if writer.step(bucket, ended, indexed):
            assert shown(bucket.content).get(writer.run_id, "older than the newest") is not None
            del writers[turn]


@examples(200)
@given(json_values | st.binary(max_size=60))
def test_whatever_is_in_the_registry_s_place_the_next_one_is_made(content):
    drawn["registries"] += 1
    text = content if isinstance(content, bytes) else json.dumps({"runs": content}).encode()

    model = read_model([record(RUN_IDS[0], ended=True)], "bucket", 9, shown_entries(text))

    assert [entry["status"] for entry in model["runs"] if entry["run_id"] == RUN_IDS[0]] == ["completed"]
    assert json.loads(json.dumps(model, allow_nan=False)) == model
