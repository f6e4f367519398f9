"""The time left of work done chunk by chunk, on a clock that the test sets."""

from instance.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_told_before_the_first_chunk() -> None:
    assert Pace(4, Clock()).seconds_left() is None


def test_chunks_left_take_what_those_before_took() -> None:
    clock = Clock()
    pace = Pace(4, clock)
    for _ in range(2):
        clock.now += 10
        pace.done(computed=True)
    assert pace.seconds_left() == 20
    clock.now += 6
    assert pace.seconds_left() == 14


def test_chunks_of_an_earlier_attempt_do_not_make_the_rest_look_fast() -> None:
    clock = Clock()
    pace = Pace(10, clock)
    for _ in range(5):
        clock.now += 0.1
        pace.done(computed=False)
    assert pace.seconds_left() is None
    clock.now += 8
    pace.done(computed=True)
    assert round(pace.seconds_left() or 0, 6) == 4 * 8


def test_a_late_chunk_leaves_no_negative_time_and_the_end_leaves_none() -> None:
    clock = Clock()
    pace = Pace(2, clock)
    clock.now += 1
    pace.done(computed=True)
    clock.now += 60
    assert pace.seconds_left() == 0
    pace.done(computed=True)
    assert pace.seconds_left() == 0


def test_the_later_chunks_count_when_the_machine_got_slower() -> None:
    clock = Clock()
    pace = Pace(30, clock)
    for seconds in [1] * 10 + [3] * 10:
        clock.now += seconds
        pace.done(computed=True)
    assert pace.seconds_left() == 10 * 3
