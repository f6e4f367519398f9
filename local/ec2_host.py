"""Runs the instances that RunInstances makes and moves them through their states. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html,
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html and
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

import contextvars
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ministack.core import responses
from ministack.services import ec2, eventbridge

from local.instance_metadata import InstanceMetadata, facts_of
from local.launch_template import Launch
from local.machine import Machine
from local.permissions import instance_credentials
from local.state_folder import StateFolder, read_json

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
ENDED = ("shutting-down", "terminated")
# EC2 shows a terminated instance for about an hour, MiniStack forgets it after a minute.
SHOWN_AFTER_END_SECONDS = 3540
logger = logging.getLogger("chronos.ec2_host")


@dataclass(frozen=True)
class Timing:
    """How long the host takes for what EC2 takes longer for.

    Parameters
    ----------
    change_seconds : float
        From pending to running, and at least from shutting-down to terminated.
    minute_seconds : float
        Length of a minute of `shutdown -P +N`; tests shorten it.
    spot_notice_seconds : float
        From the interruption notice to the end; two minutes on AWS.
    poweroff_seconds : float
        From the hour of `shutdown` to the end as EC2 sees it: what the operating system takes to go down.
    """

    change_seconds: float = 1.0
    minute_seconds: float = 60.0
    spot_notice_seconds: float = 120.0
    poweroff_seconds: float = 0.0


@dataclass
class Hosted:
    """An instance the host runs: its EC2 record, its machine, and the one thread that changes its state."""

    record: Any
    launch: Launch
    machine: Machine
    context: contextvars.Context
    lane: ThreadPoolExecutor
    metadata: InstanceMetadata | None = None
    timer: threading.Timer | None = None
    notice: dict[str, str] = field(default_factory=dict)
    ending: bool = False

    def do(self, work: Callable[[], None]) -> None:
        """Queue `work` in the account and region of the instance; queued work runs one after the other."""
        self.lane.submit(self.context.copy().run, _logged, work)


class Ec2Host:
    """All instances of one embedded cloud.

    Parameters
    ----------
    folder : StateFolder
        Where instances have their folders.
    environment : dict
        What every instance's environment holds beyond its own: endpoint, region, credentials, cloud marker.
    timing : Timing
        How long things take.
    """

    def __init__(self, folder: StateFolder, environment: dict[str, str], timing: Timing) -> None:
        self.folder = folder
        self.control_url = ""
        self._environment = environment
        self._timing = timing
        self._hosted: dict[str, Hosted] = {}

    def launched(self, record: Any, launch: Launch) -> None:
        """Take over a pending instance: boot it, then run its user data."""
        instance_id = record["InstanceId"]
        machine = Machine(instance_id, self.folder.instance(instance_id), **read_json(self.folder.machines))
        lane = ThreadPoolExecutor(max_workers=1, thread_name_prefix=instance_id)
        hosted = Hosted(record, launch, machine, contextvars.copy_context(), lane)
        self._hosted[instance_id] = hosted
        hosted.do(lambda: self._boot(hosted))

    def get(self, instance_id: str) -> Hosted:
        """Return a hosted instance; raises KeyError with a sentence when there is none of that id."""
        if instance_id not in self._hosted:
            raise KeyError(f"{instance_id}: expected an instance of this cloud, found none. See describe-instances.")
        return self._hosted[instance_id]

    def hosts(self, instance_id: str) -> bool:
        """Return whether the host runs, or ran, this instance."""
        return instance_id in self._hosted

    def terminate(self, instance_id: str, reason: str) -> None:
        """Begin to terminate: shutting-down at once, terminated when every process is gone. Twice is the same."""
        hosted = self.get(instance_id)
        if hosted.record["State"]["Name"] in ENDED:
            return
        hosted.ending = True
        _set_state(hosted.record, "shutting-down", reason)
        hosted.do(lambda: self._end(hosted))

    def stop(self, instance_id: str, reason: str) -> None:
        """Begin to stop: the processes end, the root volume stays."""
        hosted = self.get(instance_id)
        if hosted.record["State"]["Name"] not in ("pending", "running"):
            return
        hosted.ending = True
        _set_state(hosted.record, "stopping", reason)
        hosted.do(lambda: self._halt(hosted))

    def lose(self, instance_id: str) -> None:
        """Lose the machine: every process dies in this moment, the instance is terminated without a farewell."""
        hosted = self.get(instance_id)
        hosted.ending = True
        hosted.machine.kill()
        if hosted.record["State"]["Name"] not in ENDED:
            _set_state(hosted.record, "terminated", "Server.InternalError: Internal error on launch host")
            hosted.do(lambda: self._ended(hosted))

    def interrupt(self, instance_id: str, notice_seconds: float | None = None) -> None:
        """Interrupt a spot instance: notice in its metadata and on the bus, the end when the notice has run out.

        Raises
        ------
        ValueError
            When the instance is not a spot instance.
        """
        hosted = self.get(instance_id)
        if hosted.launch.market != "spot":
            raise ValueError(f"{instance_id}: expected a spot instance, found on-demand. Only spot can be interrupted.")
        seconds = self._timing.spot_notice_seconds if notice_seconds is None else notice_seconds
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        notice = {"action": "terminate", "time": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        hosted.notice = {"meta-data/spot/instance-action": json.dumps(notice)}
        hosted.do(lambda: _emit_interruption(hosted.record))
        reason = "Server.SpotInstanceTermination: Instance terminated by spot service"
        self._later(seconds, lambda: self.terminate(instance_id, reason))

    def shutdown(self, instance_id: str, minutes: float) -> None:
        """Answer the instance's `shutdown`: end by the launch's shutdown behaviour, now or in some minutes."""
        hosted = self.get(instance_id)
        self.cancel_shutdown(instance_id)
        reason = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
        end = self.terminate if hosted.launch.shutdown_behavior == "terminate" else self.stop
        hosted.machine.note(f"shutdown in {minutes:g} minutes, then {hosted.launch.shutdown_behavior}")
        seconds = minutes * self._timing.minute_seconds + self._timing.poweroff_seconds
        hosted.timer = self._later(seconds, lambda: end(instance_id, reason))

    def cancel_shutdown(self, instance_id: str) -> None:
        """Forget a scheduled shutdown (`shutdown -c`)."""
        if timer := self.get(instance_id).timer:
            timer.cancel()

    def close(self) -> None:
        """Kill every process of every instance: the cloud is going down."""
        for hosted in self._hosted.values():
            hosted.ending = True
            hosted.machine.kill()

    def _boot(self, hosted: Hosted) -> None:
        _emit_state(hosted.record, "pending")
        hosted.metadata = InstanceMetadata(lambda: self._facts(hosted))
        hosted.machine.install(f"{self.control_url}/instances/{hosted.machine.instance_id}/shutdown")
        time.sleep(self._timing.change_seconds)
        if hosted.ending:
            return
        _set_state(hosted.record, "running")
        _emit_state(hosted.record, "running")
        extra = {**self._environment, **instance_credentials(hosted.record)}
        extra["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = hosted.metadata.url
        hosted.machine.start(hosted.launch.user_data, extra)

    def _facts(self, hosted: Hosted) -> dict[str, str]:
        return hosted.context.copy().run(_facts, hosted)

    def _end(self, hosted: Hosted) -> None:
        _emit_state(hosted.record, "shutting-down")
        begun = time.monotonic()
        hosted.machine.stop()
        time.sleep(max(0.0, self._timing.change_seconds - (time.monotonic() - begun)))
        _set_state(hosted.record, "terminated")
        self._ended(hosted)

    def _ended(self, hosted: Hosted) -> None:
        self.cancel_shutdown(hosted.machine.instance_id)
        # A process started while the machine was being lost is found here: boot and end share one lane.
        hosted.machine.kill()
        _release(hosted.record)
        hosted.machine.erase()
        if hosted.metadata:
            hosted.metadata.close()
        _emit_state(hosted.record, "terminated")

    def _halt(self, hosted: Hosted) -> None:
        _emit_state(hosted.record, "stopping")
        hosted.machine.stop()
        _set_state(hosted.record, "stopped")
        _emit_state(hosted.record, "stopped")

    def _later(self, seconds: float, work: Callable[[], None]) -> threading.Timer:
        timer = threading.Timer(seconds, work)
        timer.daemon = True
        timer.start()
        return timer


def _logged(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        logger.exception("an instance's state change failed")


def _facts(hosted: Hosted) -> dict[str, str]:
    tags = ec2._tags.get(hosted.record["InstanceId"]) or [] if hosted.launch.metadata_tags else []
    named = {tag["Key"]: tag["Value"] for tag in tags}
    facts = facts_of(hosted.record, named, responses.get_account_id(), responses.get_region())
    return {**facts, **hosted.notice}


def _set_state(record: Any, name: str, reason: str = "") -> None:
    record["State"] = {"Code": CODES[name], "Name": name}
    if name == "terminated":
        record["_terminated_at"] = time.time() + SHOWN_AFTER_END_SECONDS
    if reason:
        record["StateReason"] = reason
        # Said of what a person or program asked for only, and with the time:
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html
        asked = f"User initiated ({datetime.now(UTC):%Y-%m-%d %H:%M:%S} GMT)"
        record["StateTransitionReason"] = asked if reason.startswith("Client.UserInitiatedShutdown") else ""


def _release(record: Any) -> None:
    for mapping in record["BlockDeviceMappings"]:
        volume_id = mapping["Ebs"]["VolumeId"]
        if mapping["Ebs"]["DeleteOnTermination"]:
            ec2._volumes.pop(volume_id, None)
        elif volume := ec2._volumes.get(volume_id):
            volume.update({"State": "available", "Attachments": []})
    record["BlockDeviceMappings"] = []


def _emit_state(record: Any, state: str) -> None:
    arn = f"arn:aws:ec2:{responses.get_region()}:{responses.get_account_id()}:instance/{record['InstanceId']}"
    detail = {"instance-id": record["InstanceId"], "state": state}
    _emit("EC2 Instance State-change Notification", detail, arn)


def _emit_interruption(record: Any) -> None:
    # The zone in the region's place and no account: so the spot events are documented.
    arn = f"arn:aws:ec2:{record['Placement']['AvailabilityZone']}:instance/{record['InstanceId']}"
    detail = {"instance-id": record["InstanceId"], "instance-action": "terminate"}
    _emit("EC2 Spot Instance Interruption Warning", detail, arn)


def _emit(kind: str, detail: dict[str, str], arn: str) -> None:
    entry = {"Source": "aws.ec2", "DetailType": kind, "Detail": json.dumps(detail), "Resources": [arn]}
    eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)
