"""A function's SDK waits a part of its time in a cloud that is told so, and tries as often."""

import json
from collections.abc import Iterator

import pytest

from local.cloud import LocalCloud
from local.sdk_pace import SCALE
from tests.local.bench import Bench

pytestmark = [pytest.mark.emulator, pytest.mark.slow]

SOURCE = """
import socket
import threading
import time

import boto3
from botocore.config import Config


def deaf(heard):
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            heard.append(listener.accept())

    threading.Thread(target=accept, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def handler(event, context):
    heard = []
    retries = {"mode": "standard", "total_max_attempts": event["tries"]}
    config = Config(read_timeout=event["read_seconds"], retries=retries)
    client = boto3.client("sts", endpoint_url=deaf(heard), region_name="us-east-1", config=config)
    began = time.monotonic()
    try:
        client.get_caller_identity()
    except Exception as error:
        return {"error": type(error).__name__, "tries": len(heard), "seconds": time.monotonic() - began}
"""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    cloud = LocalCloud(tmp_path_factory.mktemp("quick"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SCALE, "0.1")
        cloud.start()
    yield Bench(cloud.credentials())
    cloud.stop()


def unanswered(bench: Bench, tries: int, read_seconds: int) -> dict:
    event = {"tries": tries, "read_seconds": read_seconds}
    answer = bench.client("lambda").invoke(FunctionName=bench.function(SOURCE, Timeout=30), Payload=json.dumps(event))
    return json.loads(answer["Payload"].read())


def test_an_answer_may_take_a_part_of_its_time_and_is_asked_for_as_often(quick: Bench) -> None:
    found = unanswered(quick, tries=3, read_seconds=30)

    assert found["error"] == "ReadTimeoutError"
    assert found["tries"] == 3
    # Thirty seconds for each of three tries, at full length; four at least.
    assert 12 <= found["seconds"] < 25


def test_an_answer_never_has_less_time_than_this_computer_needs(quick: Bench) -> None:
    found = unanswered(quick, tries=1, read_seconds=2)

    assert 2 <= found["seconds"] < 10
