"""State Cleanup: by tag, until nothing is left, the dead-man schedule last; leftovers are no success. Runs on moto."""

import pytest

from lambdas import cleanup, record_run
from lambdas.core.inventory import MOST_ROUNDS, Resource
from lambdas.flows import cleaning, terminating


@pytest.fixture
def clean(world, event, monkeypatch):
    """Return a function that runs one round without waiting; arguments change the state."""
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", 5)

    def call(rounds=None, **outcome):
        payload = event("state_cleanup")
        payload["state"]["outcome"].update(outcome)
        if rounds is not None:
            payload["state"]["cleanup"] = {"rounds": rounds}
        return cleanup.handler(payload, world.context)

    return call


@pytest.fixture
def ended(world):
    """Give a run whose instance still runs and whose dead-man switch is armed."""
    record = world.launch(world.register(), stage="training", task_token="token", seq=9, state="completed")
    world.cloud.schedules.arm(record.run_id, record.deadline_at)
    return record


def volume_of_the_run(world, run_id="20261123-180000"):
    tags = [{"Key": "Project", "Value": "ChronosTraining"}, {"Key": "RunId", "Value": run_id}]
    return world.ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )["VolumeId"]


def test_everything_of_the_run_is_deleted_and_the_receipt_says_so(world, clean, ended):
    answer = clean()

    assert answer == {
        "everything_gone": True, "done": True, "rounds": 1,
        "verdict": {"status": "completed", "reason_code": None, "cause": None},
    }  # fmt: skip
    assert world.instance_state(ended.instance_id) == "terminated"
    receipt = world.receipt()
    assert receipt["everything_gone"] is True
    assert receipt["checked_by"] == "state_machine"
    states = {kind: entry["state"] for kind, entry in receipt["inventory"].items()}
    assert states.pop("schedules") == "armed"
    assert set(states.values()) == {"gone"}


def test_the_schedule_stays_armed_until_the_verdict_is_on_record(world, event, clean, ended):
    volume = volume_of_the_run(world)

    clean()
    assert world.armed()
    record_run.handler(event("state_record_run"), world.context)

    assert not world.armed()
    actions = [action["resource"] for action in world.receipt()["actions"]]
    assert actions == [ended.instance_id, volume, "schedules/20261123-180000"]
    assert {kind["state"] for kind in world.receipt()["inventory"].values()} == {"gone"}
    assert world.load().status == "completed"


def test_what_only_its_tags_tell_is_found_too(world, clean, ended):
    world.cloud.runs.note(ended, {"attempts": (), "instance_id": ""})
    volume_of_the_run(world)

    assert clean()["everything_gone"] is True
    assert world.instance_state(ended.instance_id) == "terminated"
    assert world.ec2.describe_volumes(Filters=[{"Name": "tag:RunId", "Values": [ended.run_id]}])["Volumes"] == []


def test_what_belongs_to_another_run_or_project_is_left_alone(world, clean, ended):
    other_run = volume_of_the_run(world, "20261123-190000")
    tags = [{"Key": "Project", "Value": "Other"}, {"Key": "RunId", "Value": ended.run_id}]
    instance = world.ec2._real.run_instances(
        ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )["Instances"][0]["InstanceId"]  # fmt: skip

    clean()

    assert world.ec2.describe_volumes(VolumeIds=[other_run])["Volumes"][0]["State"] == "available"
    assert world.instance_state(instance) == "running"


def test_from_then_on_the_run_is_closed_and_its_attempts_are_billed_no_further(world, clean, ended):
    clean()

    record = world.load()
    assert record.closed_at == world.clock.now
    assert record.task_token == ""
    assert record.attempts[0].ended_at == world.clock.now


def test_a_second_cleanup_finds_nothing_and_says_the_same(world, clean, ended):
    clean()
    world.clock.now += 60

    assert clean()["everything_gone"] is True
    assert world.receipt()["actions"] == []
    assert world.load().closed_at == world.clock.now - 60


def test_a_launch_in_flight_keeps_the_run_and_its_schedule_open(world, clean, monkeypatch):
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", -1)
    record = world.register(rung_at=world.clock.now - 5)
    world.cloud.schedules.arm(record.run_id, record.deadline_at)

    answer = clean()

    assert (answer["everything_gone"], answer["done"], answer["verdict"]["status"]) == (False, False, "failed")
    assert world.armed()
    assert world.receipt()["inventory"]["instances"]["left"] == ["a launch of attempt 1 in flight"]

    world.clock.now += 150
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", 5)
    assert clean(rounds=1)["everything_gone"] is True


def test_an_instance_that_ec2_does_not_show_yet_is_not_gone(world, clean, ended, monkeypatch):
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", -1)
    monkeypatch.setattr(type(world.cloud.compute), "_paged", lambda *args, **kwargs: [])

    answer = clean()

    assert answer["everything_gone"] is False
    assert f"{ended.instance_id} (not visible yet)" in world.receipt()["inventory"]["instances"]["left"]
    assert world.armed()


@pytest.fixture
def stubborn(world, monkeypatch):
    """Let EC2 refuse every deletion."""
    monkeypatch.setattr(type(world.cloud.compute), "delete", lambda self, resource: "refused: UnauthorizedOperation")
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", -1)


def test_leftovers_turn_a_completed_run_into_a_failure(world, clean, ended, stubborn):
    answer = clean()

    assert (answer["everything_gone"], answer["done"]) == (False, False)
    assert (answer["verdict"]["status"], answer["verdict"]["reason_code"]) == ("failed", "CleanupIncomplete")
    assert ended.instance_id in answer["verdict"]["cause"]
    assert world.receipt()["everything_gone"] is False
    assert world.armed()


def test_leftovers_of_a_failed_run_keep_its_own_reason(clean, ended, stubborn):
    verdict = clean(status="failed", reason_code="NoProgress", cause="Stood still.")["verdict"]

    assert verdict["reason_code"] == "NoProgress"
    assert verdict["cause"].startswith("Stood still. Left: i-")


def test_the_last_round_hands_over_to_the_dead_man_switch(world, clean, ended, stubborn):
    answer = clean(rounds=MOST_ROUNDS - 1)

    assert (answer["everything_gone"], answer["done"], answer["rounds"]) == (False, True, MOST_ROUNDS)
    assert world.armed()


def test_within_a_round_a_refused_deletion_is_tried_again(world, clean, ended, monkeypatch):
    answers = iter(["refused: RequestLimitExceeded"])
    real = type(world.cloud.compute).delete
    monkeypatch.setattr(
        type(world.cloud.compute), "delete", lambda self, resource: next(answers, None) or real(self, resource)
    )

    assert clean()["everything_gone"] is True
    assert [a["result"] for a in world.receipt()["actions"]] == ["refused: RequestLimitExceeded", "requested"]


def test_a_round_does_not_wait_for_a_permission(world, clean, ended, monkeypatch):
    real = type(world.cloud.compute).delete
    # The machine comes first, and is asked for again with all else.
    answers = iter(["refused: UnauthorizedOperation"] * 2)
    monkeypatch.setattr(
        type(world.cloud.compute), "delete", lambda self, resource: next(answers, None) or real(self, resource)
    )

    first, second = clean(), clean(rounds=1)

    assert (first["everything_gone"], first["done"]) == (False, False)
    assert (second["everything_gone"], second["rounds"]) == (True, 2)


def test_what_goes_on_is_waited_for_beside_what_is_refused(world, clean, monkeypatch):
    world.register()
    refused, slow = volume_of_the_run(world), volume_of_the_run(world)
    answers = {refused: "refused: UnauthorizedOperation", slow: "requested"}
    monkeypatch.setattr(type(world.cloud.compute), "delete", lambda self, resource: answers[resource.resource_id])
    monkeypatch.setattr(cleaning, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", 0.3)

    clean()

    asked = [action["resource"] for action in world.receipt()["actions"]]
    assert asked.count(refused) > 1
    assert asked.count(slow) == 1


def test_an_execution_that_registered_no_run_has_nothing_to_clean(world, event):
    payload = event("state_cleanup")
    outcome = payload["state"]["outcome"] | {"status": "failed", "reason_code": "RequestInvalid", "cause": "why"}
    payload["state"] = {"Error": "RequestInvalid", "Cause": "{}", "outcome": outcome}

    answer = cleanup.handler(payload, world.context)

    assert answer["done"] is True
    assert (answer["verdict"]["status"], answer["verdict"]["reason_code"]) == ("failed", "RequestInvalid")
    assert answer["verdict"]["cause"].startswith("why Evidence: s3://")
    assert world.keys() == ["phase1/refused/run-1/logs/ending.json"]


def test_deleting_what_is_already_gone_counts_as_deleted(world):
    gone = [
        Resource("instances", "i-0fedcba9876543210", "running"),
        Resource("volumes", "vol-0fedcba9876543210", "available"),
        Resource("network_interfaces", "eni-0fedcba9876543210", "available"),
    ]

    assert [world.cloud.compute.delete(resource) for resource in gone] == ["already gone"] * 3
    assert world.cloud.compute.delete(Resource("nat_gateways", "nat-1", "available")) == "left to its owner"
    assert world.cloud.schedules.disarm("20261123-180000") == "already gone"
    assert terminating.REARM_SECONDS >= 60
