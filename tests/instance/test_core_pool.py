"""The processes that statistical models share: killed, interrupted, failing work."""

import pytest

from contracts.reasons import OutOfMemory
from instance.models.core_pool import CorePool
from instance.reporting import Interrupted
from tests.instance.pool_tasks import end_process, fail


def test_a_killed_process_is_reported_and_the_pool_works_again() -> None:
    pool = CorePool(2)
    try:
        with pytest.raises(OutOfMemory, match="found one killed from outside"):
            pool.map(end_process, list(range(8)), lambda _: None, in_processes=True)
        assert pool.map(abs, [-1, -2], lambda _: None, in_processes=True) == [1, 2]
    finally:
        pool.close()


def test_an_interruption_and_an_error_pass_through_the_pool() -> None:
    def interrupt(_: int) -> None:
        raise Interrupted

    pool = CorePool(2)
    try:
        with pytest.raises(Interrupted):
            pool.map(abs, list(range(50)), interrupt, in_processes=True)
        with pytest.raises(ZeroDivisionError, match="task"):
            pool.map(fail, list(range(4)), lambda _: None, in_processes=True)
    finally:
        pool.close()
