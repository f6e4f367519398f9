"""Answers of S3 that break off in their body: asked for again, and never taken for the whole. Runs on moto."""

import io

import pytest
from botocore.exceptions import IncompleteReadError
from botocore.response import StreamingBody

from lambdas.adapters import clients


@pytest.fixture
def broken(monkeypatch):
    """Return a function that lets the next answers of GetObject break off after some bytes."""
    s3 = clients.client("s3")
    real, left = s3.get_object, []

    def answer(**asked):
        found = real(**asked)
        if left:
            content = found["Body"].read()
            found["Body"] = StreamingBody(io.BytesIO(content[: left.pop()]), len(content))
        return found

    monkeypatch.setattr(s3, "get_object", answer)
    return lambda *lengths: left.extend(reversed(lengths))


@pytest.mark.parametrize("lengths", [(1,), (0, 5), (3, 1, 0, 2)])
def test_a_passing_fault_costs_nothing(world, broken, lengths):
    world.put("requests/a.json", '{"dataset": "stocks"}')
    broken(*lengths)

    assert world.cloud.objects.head("requests/a.json", 1000) == b'{"dataset": "stocks"}'


def test_a_part_is_whole_when_it_is_what_was_asked_for(world, broken):
    world.put("requests/a.json", '{"dataset": "stocks"}')
    broken(2)

    assert world.cloud.objects.head("requests/a.json", 9) == b'{"dataset'
    assert world.cloud.objects.head("requests/none.json", 9) is None


def test_an_answer_that_always_breaks_off_is_an_error_and_no_document(world, broken):
    world.put("cleanup.json", "{}")
    broken(*[1] * clients.TRIES * 2)

    with pytest.raises(IncompleteReadError):
        world.cloud.objects.versioned("cleanup_status", "cleanup.json")
    with pytest.raises(IncompleteReadError):
        world.cloud.objects.head("cleanup.json", 1000)
