"""The processes that statistical models share: killed, interrupted, failing work."""

import pytest

from contracts.reasons import OutOfMemory
from instance.models.core_pool import STEPS_WORTH_PROCESSES, CorePool
from instance.reporting import Interrupted
from tests.instance.pool_tasks import end_process, fail


def test_a_killed_process_is_reported_and_the_pool_works_again() -> None:
    pool = CorePool(2)
    try:
        with pytest.raises(OutOfMemory, match="found one killed from outside"):
            pool.map(end_process, list(range(8)), lambda _: None, steps=STEPS_WORTH_PROCESSES)
        assert pool.map(abs, [-1, -2], lambda _: None, steps=STEPS_WORTH_PROCESSES) == [1, 2]
    finally:
        pool.close()


def test_an_interruption_and_an_error_pass_through_the_pool() -> None:
    def interrupt(_: int) -> None:
        raise Interrupted

    pool = CorePool(2)
    try:
        with pytest.raises(Interrupted):
            pool.map(abs, list(range(50)), interrupt, steps=STEPS_WORTH_PROCESSES)
        with pytest.raises(ZeroDivisionError, match="task"):
            pool.map(fail, list(range(4)), lambda _: None, steps=STEPS_WORTH_PROCESSES)
    finally:
        pool.close()


def test_many_small_pieces_of_work_start_the_processes_once_together_they_are_worth_it() -> None:
    pool, half = CorePool(2), STEPS_WORTH_PROCESSES // 2
    try:
        assert pool.map(abs, [-1], lambda _: None, steps=half) == [1]
        assert not pool.started
        assert pool.map(abs, [-2, -3], lambda _: None, steps=half) == [2, 3]
        assert pool.started
    finally:
        pool.close()
