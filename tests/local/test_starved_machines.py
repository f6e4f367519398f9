"""Machines whose disk runs full, whose memory runs out, whose clock is wrong: their programs meet the real thing."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.cloud import LocalCloud
from local.faults import FaultRefused, Faults
from local.wrong_clock import skewed
from tests.local.bench import Bench
from tests.waiting import until

pytestmark = pytest.mark.emulator

WRITES = """#!/bin/bash
while sleep 0.1; do head -c 5000 /dev/zero >>"$CHRONOS_ROOT/var/log/note"; done
"""
CLOCKS = """#!/bin/bash
echo "shell $(date -u +%Y-%m-%dT%H:%M:%S+00:00)"
python - <<'PYTHON'
import datetime, pandas, time
now = datetime.datetime.now(datetime.UTC)
assert abs(pandas.Timestamp.now(datetime.UTC) - now) < pandas.Timedelta(minutes=1)
print("python", now.isoformat())
print("seconds", datetime.datetime.fromtimestamp(time.time(), datetime.UTC).isoformat())
PYTHON
while sleep 0.2; do aws s3api put-object --bucket clocks --key "$(date +%s)" && echo stored; done
"""
SIGNED = {b"authorization": b"AWS4-HMAC-SHA256 Credential=test/20261125/us-east-1/s3/aws4_request, Signature=0"}


@pytest.fixture
def machines(faults: Faults) -> Iterator[Faults]:
    yield faults
    faults.set_machines({})


def console(cloud: LocalCloud, instance_id: str) -> str:
    path = cloud.folder.instance(instance_id) / "console.log"
    return path.read_text() if path.exists() else ""


def running(bench: Bench, instance_id: str) -> bool:
    found = bench.client("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    return bool(found["State"]["Name"] == "running")


def filled(machines: Faults, instance_id: str) -> bool:
    with contextlib.suppress(FaultRefused):
        return bool(machines.fill_disk(instance_id))
    return False


def test_a_full_disk_refuses_what_is_written_and_is_this_machine_s_alone(
    cloud: LocalCloud, bench: Bench, machines: Faults
) -> None:
    machines.set_machines({"own_disk": True})
    instance_id = bench.run(bench.template(WRITES))
    until(lambda: running(bench, instance_id))
    until(lambda: filled(machines, instance_id))

    until(lambda: "No space left on device" in console(cloud, instance_id))

    (cloud.folder.path / "room").write_text("there is some")
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_a_machine_without_a_disk_of_its_own_cannot_be_filled(bench: Bench, machines: Faults) -> None:
    instance_id = bench.run(bench.template(WRITES))

    with pytest.raises(FaultRefused, match="disk of its own"):
        machines.fill_disk(instance_id)

    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_without_a_worker_there_is_nobody_whose_memory_runs_out(bench: Bench, machines: Faults) -> None:
    instance_id = bench.run(bench.template(WRITES))

    with pytest.raises(FaultRefused, match="expected a worker"):
        machines.exhaust_memory(instance_id)

    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


@pytest.mark.slow
def test_a_wrong_clock_is_what_every_program_reads_and_s3_refuses_it(
    cloud: LocalCloud, bench: Bench, machines: Faults
) -> None:
    bench.client("s3").create_bucket(Bucket="clocks")
    machines.set_machines({"own_clock": True})
    instance_id = bench.run(bench.template(CLOCKS))
    until(lambda: "stored" in console(cloud, instance_id))
    machines.set_clock(instance_id, -3600)

    until(lambda: "RequestTimeTooSkewed" in console(cloud, instance_id))

    told = dict(line.split() for line in console(cloud, instance_id).splitlines() if line.count(" ") == 1)
    assert {"shell", "python", "seconds"} <= told.keys()
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


@pytest.mark.parametrize(
    ("minutes", "refused"), [(0, False), (14, False), (16, True), (-14, False), (-16, True), (60, True)]
)
def test_s3_takes_a_quarter_of_an_hour(minutes: int, refused: bool) -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    at = f"{now + timedelta(minutes=minutes):%Y%m%dT%H%M%SZ}".encode()
    headers: dict[bytes, Any] = {**SIGNED, b"x-amz-date": at}

    assert skewed(headers, now) is refused
    assert not skewed({**headers, b"authorization": b"Credential=test/20261125/us-east-1/ec2/aws4_request"}, now)
    assert not skewed({}, now)
