"""Which models share a lane, and how lanes work through their chunks."""

import threading
import time

import pytest

from instance.lanes import Lane, plan, run_lanes

MODELS = ["AutoETS", "ChronosZeroShot", "SeasonalNaive"]


def test_a_gpu_gives_the_statistical_models_a_lane_of_their_own() -> None:
    assert plan(MODELS, "cuda") == [Lane(("ChronosZeroShot",), 1), Lane(("AutoETS", "SeasonalNaive"), 2)]


def test_without_a_gpu_every_model_takes_its_turn_on_each_chunk() -> None:
    assert plan(MODELS, "cpu") == [Lane(tuple(MODELS), 2)]
    assert plan(["ChronosZeroShot"], "cpu") == [Lane(("ChronosZeroShot",), 2)]


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("chunks", [1, 2, 7])
def test_chunks_are_collected_once_each_and_in_order(chunks: int, at_once: int) -> None:
    collected: list[tuple[int, int]] = []

    def compute(_: Lane, chunk: int) -> int:
        time.sleep(0.01 if chunk % 2 else 0.0)
        return chunk * 10

    run_lanes([Lane(("A",), at_once)], chunks, compute, lambda _, chunk, done: collected.append((chunk, done)))
    assert collected == [(chunk, chunk * 10) for chunk in range(chunks)]


def test_lanes_work_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=10)
    run_lanes([Lane(("A",), 1), Lane(("B",), 1)], 1, lambda _, __: both.wait(), lambda *_: None)


def test_the_next_chunk_is_computed_while_one_is_collected() -> None:
    begun = [threading.Event() for _ in range(3)]

    def collect(_: Lane, chunk: int, __: None) -> None:
        assert begun[min(chunk + 1, 2)].wait(10)

    run_lanes([Lane(("A",), 1)], 3, lambda _, chunk: begun[chunk].set(), collect)


def test_what_a_lane_raises_ends_the_others() -> None:
    first = Lane(("A",), 1)
    done: list[int] = []

    def compute(lane: Lane, chunk: int) -> None:
        if lane is first and chunk == 1:
            raise ValueError("the chunk is bad")
        if lane is not first:
            time.sleep(0.05)
            done.append(chunk)

    with pytest.raises(ValueError, match="the chunk is bad"):
        run_lanes([first, Lane(("B",), 1)], 200, compute, lambda *_: None)
    time.sleep(0.3)
    assert len(done) < 20


def test_what_a_collector_raises_ends_the_lane() -> None:
    def refuse(*_: object) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        run_lanes([Lane(("A",), 2)], 50, lambda _, chunk: chunk, refuse)
