"""Instances that run their user data, and end: lifecycle, metadata, shutdown, faults."""

import json
import time

import pytest
from botocore.exceptions import ClientError

from local import processes
from local.cloud import LocalCloud
from local.faults import FaultRefused, Faults
from local.state_folder import INSTANCE_MARKER
from tests.local.bench import Bench
from tests.waiting import until

pytestmark = pytest.mark.emulator
SLEEP = "#!/bin/bash\necho begun\nsleep 60\n"
METADATA = """#!/bin/bash
base=$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest
curl -s -o /dev/null -w 'without token %{http_code}\\n' $base/meta-data/instance-id
token=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $base/api/token)
for path in instance-id instance-life-cycle tags/instance/RunId spot/instance-action; do
  curl -s -w " %{http_code} $path\\n" -H "X-aws-ec2-metadata-token: $token" $base/meta-data/$path
done
echo end of metadata
while true; do
  curl -s -f -H "X-aws-ec2-metadata-token: $token" $base/meta-data/spot/instance-action && break
  sleep 0.2
done
echo noticed
sleep 60
"""


def instance_states(events: list[dict], instance_id: str) -> list[str]:
    return [
        event["detail"]["state"]
        for event in events
        if event["detail"]["instance-id"] == instance_id and "state" in event["detail"]
    ]


def pids(instance_id: str) -> list[int]:
    return processes.find(INSTANCE_MARKER, instance_id)


def test_instance_goes_through_its_states_with_an_event_for_each(bench: Bench) -> None:
    queue = bench.listen("aws.ec2")
    instance_id = bench.run(bench.template(SLEEP))
    assert bench.instance(instance_id)["State"] == {"Code": 0, "Name": "pending"}
    bench.await_console(instance_id, "begun")
    assert bench.instance(instance_id)["State"]["Name"] == "running"
    (change,) = bench.client("ec2").terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "shutting-down")
    ended = bench.await_state(instance_id, "terminated")
    assert ended["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert ended["StateTransitionReason"].startswith("User initiated (20")
    assert pids(instance_id) == []
    wanted = ["pending", "running", "shutting-down", "terminated"]
    events = bench.heard(queue, lambda seen: len(instance_states(seen, instance_id)) == len(wanted))
    assert instance_states(events, instance_id) == wanted
    (event,) = [e for e in events if e["detail"] == {"instance-id": instance_id, "state": "terminated"}]
    assert event["detail-type"] == "EC2 Instance State-change Notification"
    assert event["resources"] == [f"arn:aws:ec2:us-east-1:000000000000:instance/{instance_id}"]


def test_terminating_twice_is_the_same(bench: Bench) -> None:
    instance_id = bench.run(bench.template(SLEEP))
    for _ in range(2):
        bench.client("ec2").terminate_instances(InstanceIds=[instance_id])
    bench.await_state(instance_id, "terminated")
    (change,) = bench.client("ec2").terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"]
    assert change["CurrentState"]["Name"] == "terminated"


def test_termination_finds_children_in_sessions_of_their_own_and_erases_the_root(
    bench: Bench, cloud: LocalCloud
) -> None:
    stubborn = "#!/bin/bash\nsetsid bash -c 'trap \"\" TERM; touch $CHRONOS_ROOT/here; sleep 60; sleep 60' &\nwait\n"
    instance_id = bench.run(bench.template(stubborn))
    root = cloud.folder.instance(instance_id) / "root"
    until((root / "here").exists)
    assert (root / "opt/chronos/env/bin/python").exists()
    volume = bench.instance(instance_id)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])
    bench.await_state(instance_id, "terminated")
    until(lambda: not root.exists())
    assert pids(instance_id) == []
    assert volume not in [one["VolumeId"] for one in bench.client("ec2").describe_volumes()["Volumes"]]


def test_environment_is_clean(bench: Bench) -> None:
    instance_id = bench.run(bench.template("#!/bin/bash\nenv | sort\necho end of env\nsleep 60\n"))
    said = bench.await_console(instance_id, "end of env")
    names = {line.partition("=")[0] for line in said.splitlines() if "=" in line}
    assert {"AWS_ENDPOINT_URL", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "CHRONOS_ROOT", "CHRONOS_ALLOW_CPU"} <= names
    assert not {"PYTEST_CURRENT_TEST", "GATEWAY_PORT", "VIRTUAL_ENV", "SFN_WAIT_SCALE"} & names
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_shutdown_now_terminates(bench: Bench) -> None:
    instance_id = bench.run(bench.template("#!/bin/bash\nshutdown -P now\nsleep 60\n"))
    ended = bench.await_state(instance_id, "terminated")
    assert ended["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert ended["StateTransitionReason"] == ""


def test_a_stopped_instance_says_who_stopped_it(bench: Bench) -> None:
    instance_id = bench.run(bench.template(SLEEP))
    bench.await_state(instance_id, "running")
    bench.client("ec2").stop_instances(InstanceIds=[instance_id])
    stopped = bench.await_state(instance_id, "stopped")
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_shutdown_timer_is_kept_by_the_host_when_the_instance_hangs(bench: Bench, faults: Faults) -> None:
    instance_id = bench.run(bench.template("#!/bin/bash\nshutdown -P +2\necho armed\nsleep 60\n"))
    bench.await_console(instance_id, "armed")
    faults.hang(instance_id)
    assert {processes.state(pid) for pid in pids(instance_id)} == {"T"}
    ended = bench.await_state(instance_id, "terminated")
    assert ended["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert pids(instance_id) == []


def test_cancelled_shutdown_does_not_end_the_instance(bench: Bench) -> None:
    instance_id = bench.run(bench.template("#!/bin/bash\nshutdown -P +1\nshutdown -c\necho cancelled\nsleep 60\n"))
    bench.await_console(instance_id, "cancelled")
    time.sleep(1.5)
    assert bench.instance(instance_id)["State"]["Name"] == "running"
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_shutdown_with_behaviour_stop_stops(bench: Bench) -> None:
    template = bench.template("#!/bin/bash\nshutdown -h now\nsleep 60\n", InstanceInitiatedShutdownBehavior="stop")
    instance_id = bench.run(template)
    bench.await_state(instance_id, "stopped")
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_instance_goes_on_when_user_data_ends(bench: Bench) -> None:
    instance_id = bench.run(bench.template("#!/bin/bash\nexit 3\n"))
    bench.await_console(instance_id, "user data ended with exit code 3")
    assert bench.instance(instance_id)["State"]["Name"] == "running"
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_metadata_needs_a_token_and_tells_of_the_interruption(bench: Bench, faults: Faults) -> None:
    queue = bench.listen("aws.ec2")
    template = bench.template(METADATA, MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"})
    named = [{"ResourceType": "instance", "Tags": [{"Key": "RunId", "Value": "run-7"}]}]
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}, "TagSpecifications": named}
    instance_id = bench.run(template, **spot)
    said = bench.await_console(instance_id, "end of metadata").splitlines()
    assert "without token 401" in said
    assert f"{instance_id} 200 instance-id" in said
    assert "spot 200 instance-life-cycle" in said
    assert "run-7 200 tags/instance/RunId" in said
    assert " 404 spot/instance-action" in said
    faults.interrupt(instance_id, notice_seconds=2)
    notice = bench.await_console(instance_id, "noticed").splitlines()[-1].removesuffix("noticed")
    assert json.loads(notice)["action"] == "terminate"
    assert bench.await_state(instance_id, "terminated")["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    kind = "EC2 Spot Instance Interruption Warning"
    events = bench.heard(queue, lambda seen: kind in [event["detail-type"] for event in seen])
    (warning,) = [event for event in events if event["detail-type"] == kind]
    assert warning["detail"] == {"instance-id": instance_id, "instance-action": "terminate"}


def test_on_demand_instance_cannot_be_interrupted(bench: Bench, faults: Faults) -> None:
    instance_id = bench.run(bench.template(SLEEP))
    with pytest.raises(FaultRefused, match="expected a spot instance"):
        faults.interrupt(instance_id)
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_lost_machine_is_dead_at_once(bench: Bench, faults: Faults) -> None:
    instance_id = bench.run(bench.template(SLEEP))
    bench.await_console(instance_id, "begun")
    faults.kill(instance_id)
    assert pids(instance_id) == []
    lost = bench.instance(instance_id)
    assert lost["State"]["Name"] == "terminated"
    assert lost["StateReason"]["Code"] == "Server.InternalError"


def test_stall_stops_the_worker_only(bench: Bench, faults: Faults) -> None:
    script = "#!/bin/bash\nbash -c 'sleep 60; : instance.worker' &\nsleep 60\n"
    instance_id = bench.run(bench.template(script))
    until(lambda: len(pids(instance_id)) >= 3)
    faults.stall(instance_id)
    states = {processes.command_line(pid): processes.state(pid) for pid in pids(instance_id)}
    assert {line: state for line, state in states.items() if state == "T"}.keys() == {
        "bash -c sleep 60; : instance.worker"
    }
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_stall_without_a_worker_says_so(bench: Bench, faults: Faults) -> None:
    instance_id = bench.run(bench.template(SLEEP))
    with pytest.raises(FaultRefused, match="expected a training worker"):
        faults.stall(instance_id)
    bench.client("ec2").terminate_instances(InstanceIds=[instance_id])


def test_fleet_instance_without_a_machine_can_be_terminated(bench: Bench) -> None:
    spec = {"LaunchTemplateId": bench.template(SLEEP), "Version": "$Default"}
    (made,) = bench.client("ec2").create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": spec}],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
    )["Instances"]
    bench.client("ec2").terminate_instances(InstanceIds=made["InstanceIds"])
    bench.await_state(made["InstanceIds"][0], "terminated")


def test_unknown_instance_is_not_found(bench: Bench, faults: Faults) -> None:
    with pytest.raises(ClientError, match="does not exist"):
        bench.client("ec2").terminate_instances(InstanceIds=["i-0123456789abcdef0"])
    with pytest.raises(FaultRefused, match="expected an instance of this cloud"):
        faults.hang("i-0123456789abcdef0")


def test_ministack_still_has_records_instead_of_instances(plain: Bench) -> None:
    instance_id = plain.run(plain.template(SLEEP))
    assert plain.instance(instance_id)["State"]["Name"] == "running"
    with pytest.raises(ClientError, match="GetConsoleOutput"):
        plain.console(instance_id)
    plain.client("ec2").terminate_instances(InstanceIds=[instance_id])
    ended = plain.instance(instance_id)
    assert ended["State"]["Name"] == "terminated"
    assert "StateReason" not in ended
