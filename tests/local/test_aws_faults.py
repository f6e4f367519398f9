"""AWS calls that fail on purpose: lost answers, and services that are down for one caller."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from local.aws_faults import ANSWER_LOST, HANGING, AwsFaults
from local.call_log import SWITCH, read
from local.cloud import LocalCloud
from tests.waiting import until

pytestmark = pytest.mark.emulator
Call = Any
CALLS: dict[str, tuple[str, str, Call]] = {
    "PutObject": ("s3", "PutObject", lambda s3: s3.put_object(Bucket="some-bucket", Key="x", Body=b"1")),
    "HeadObject": ("s3", "HeadObject", lambda s3: s3.head_object(Bucket="some-bucket", Key="there")),
    "GetObject": ("s3", "GetObject", lambda s3: s3.get_object(Bucket="some-bucket", Key="there")["Body"].read()),
    "ListTables": ("dynamodb", "ListTables", lambda dynamodb: dynamodb.list_tables()),
    "DescribeInstances": ("ec2", "DescribeInstances", lambda ec2: ec2.describe_instances()),
}


class Wired:
    """A cloud with a proxy before it, and clients that go through the proxy as a function of a name."""

    def __init__(self, folder: Path) -> None:
        self.cloud, self.faults = LocalCloud(folder), AwsFaults()
        self.cloud.start()
        self.faults.start(self.cloud)
        s3 = self.client("s3")
        s3.create_bucket(Bucket="some-bucket")
        s3.put_object(Bucket="some-bucket", Key="there", Body=b"1")

    def client(self, service: str, caller: str = "", attempts: int = 1, seconds: float = 30) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        tries = {"total_max_attempts": attempts, "mode": "standard"}
        config = Config(retries=tries, read_timeout=seconds, user_agent_appid=caller or None)
        return boto3.client(service, endpoint_url=self.faults.url, config=config, **keys)

    def reached(self, operation: str) -> int:
        return sum(call.operation == operation for call in read(self.cloud.folder.calls))


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "1")
        made = Wired(tmp_path_factory.mktemp("wired"))
    yield made
    made.cloud.stop()


@pytest.fixture(autouse=True)
def calm(wired: Wired) -> Iterator[None]:
    yield
    wired.faults.set()


@pytest.mark.parametrize("name", CALLS)
def test_a_lost_answer_is_an_error_for_the_caller_and_the_call_was_carried_out(wired: Wired, name: str) -> None:
    service, operation, call = CALLS[name]
    wired.faults.set({"service": service, "operation": operation, "times": 1, **ANSWER_LOST})
    before = wired.reached(operation)

    with pytest.raises(BotoCoreError):
        call(wired.client(service))

    until(lambda: wired.reached(operation) == before + 1)
    assert wired.faults.fired() == [operation]


def test_a_caller_that_tries_again_reaches_the_cloud_twice(wired: Wired) -> None:
    wired.faults.set({"service": "s3", "operation": "PutObject", "times": 1, **ANSWER_LOST})
    before = wired.reached("PutObject")

    wired.client("s3", attempts=2).put_object(Bucket="some-bucket", Key="twice", Body=b"1")

    until(lambda: wired.reached("PutObject") == before + 2)
    assert wired.faults.fired() == ["PutObject"]


def test_microburst_still_has_nothing_to_cut_from_an_answer_without_a_body(wired: Wired) -> None:
    wired.faults.set({"service": "s3", "operation": "PutObject", "times": 1, "response": {"abort_bytes": 1}})

    wired.client("s3").put_object(Bucket="some-bucket", Key="whole", Body=b"1")

    assert wired.faults.fired() == ["PutObject"]


def test_a_whole_service_refuses_one_caller_and_no_other(wired: Wired) -> None:
    refused = {"error": {"code": "UnauthorizedOperation", "status": 403}}
    wired.faults.set({"service": "ec2", "headers": {"User-Agent": "app/Cleanup"}, **refused})
    cleanup = wired.client("ec2", "Cleanup")

    for call in (cleanup.describe_instances, cleanup.describe_volumes):
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            call()

    wired.client("ec2", "SweepRun").describe_instances()
    wired.client("s3", "Cleanup").list_buckets()
    assert wired.faults.fired() == ["DescribeInstances", "DescribeVolumes"]


def test_a_service_hangs_until_it_is_calmed_and_never_carries_out_what_it_was_asked(wired: Wired) -> None:
    wired.faults.set({"service": "dynamodb", **HANGING})
    before, begun = wired.reached("ListTables"), time.monotonic()

    with pytest.raises(HTTPClientError, match="timeout"):
        wired.client("dynamodb", seconds=1).list_tables()

    assert 0.9 < time.monotonic() - begun < 4
    wired.faults.set()
    wired.client("dynamodb").list_tables()
    until(lambda: wired.reached("ListTables") == before + 1)
