"""Each net alone ends a hung machine, first of all and in time, while any one service is down. Runs on moto."""

import contextlib

import pytest

from lambdas import cleanup, record_run, sweep_run
from lambdas.adapters import clients, compute
from lambdas.flows import cleaning, draining
from tests.lambdas.outage import Outage, OutOfTime

# The functions' time limits, infra/workflow.py and infra/drain.py, less what the handler itself takes.
LIMITS = {"state machine": 175, "status change": 295, "dead man": 295, "stack deletion": 895}
# Time to arm the next try, to find that a look does not answer, and to read which instances are on record.
SOON_SECONDS = 35
DOWN = [
    ("dynamodb", ""),
    ("s3", ""),
    ("scheduler", ""),
    *(
        ("ec2", f"Describe{kind}")
        for kind in ("Instances", "Volumes", "NetworkInterfaces", "Snapshots", "NatGateways", "Addresses")
    ),
]


@pytest.fixture
def hung(world, monkeypatch):
    """Give a run whose machine trains and whose dead-man switch is armed."""
    # Time passes only where a call hangs and where the code waits, see `Outage`.
    monkeypatch.setattr(cleaning, "POLL_SECONDS", 2.0)
    record = world.launch(world.register(), stage="training", task_token="token", seq=3, booted_at=world.clock.now)
    world.cloud.schedules.arm(record.run_id, record.deadline_at)
    # The world's own client of EC2 knows nothing of the pace that is asked of it.
    monkeypatch.setattr(compute, "client", clients.client)
    return record


@pytest.fixture
def nets(world, event, hung):
    """Return what each net does when it is called, by its name."""
    world.states.running = [hung.execution_arn]
    failed = {"status": "failed", "reason_code": "HeartbeatLost", "cause": "Silent. Next: look.", "next": "cleanup"}
    cleaning = event("state_cleanup")
    cleaning["state"]["outcome"] |= failed

    def by_state_machine():
        answer = cleanup.handler(cleaning, world.context)
        payload = {"execution_arn": hung.execution_arn, "state": {"cleanup": answer}}
        if answer["done"]:
            record_run.handler(payload, world.context)

    return {
        "state machine": by_state_machine,
        "status change": lambda: sweep_run.handler(event("stepfunctions_execution_aborted"), world.context),
        "dead man": lambda: sweep_run.handler(event("dead_man_switch"), world.context),
        "stack deletion": lambda: draining.drain(world.cloud, 600),
    }


@pytest.mark.parametrize("how", ["refused", "throttled", "hanging"])
@pytest.mark.parametrize(("service", "operation"), DOWN, ids=lambda value: value or "all")
@pytest.mark.parametrize("net", LIMITS)
def test_a_net_ends_the_machine_while_a_service_is_down_and_the_rest_when_it_is_back(
    world, hung, nets, net, service, operation, how
):
    outage = Outage(service, operation, how)

    with outage.during(LIMITS[net]), contextlib.suppress(Exception, OutOfTime):
        nets[net]()

    assert world.instance_state(hung.instance_id) in ("shutting-down", "terminated")
    assert outage.seconds_to("TerminateInstances") <= SOON_SECONDS

    world.clock.now += 600
    nets[net]()
    assert world.cloud.compute.inventory().empty
    record = world.load()
    expected = {"state machine": "HeartbeatLost", "dead man": "ExecutionTimedOut"}.get(net, "Aborted")
    assert (record.reason_code, bool(record.ended_at)) == (expected, True)
    assert {entry["state"] for entry in world.receipt()["inventory"].values()} == {"gone"}
    assert not world.armed()


@pytest.mark.parametrize("net", LIMITS)
def test_a_net_ends_the_machine_while_step_functions_is_down(world, hung, nets, net):
    world.states.refuse = "AccessDeniedException"

    with contextlib.suppress(Exception):
        nets[net]()

    assert world.instance_state(hung.instance_id) in ("shutting-down", "terminated")


@pytest.mark.parametrize("net", LIMITS)
def test_a_net_ends_the_machine_though_the_group_of_its_schedules_is_gone(world, hung, nets, net):
    clients.client("scheduler").delete_schedule_group(Name="dead-men")

    with contextlib.suppress(Exception):
        nets[net]()

    assert world.instance_state(hung.instance_id) in ("shutting-down", "terminated")
    assert world.load().ended_at


@pytest.mark.parametrize("net", ["state machine", "status change", "dead man"])
def test_the_machine_comes_before_everything_but_the_next_try(world, hung, nets, net):
    outage = Outage("no service", "", "refused")

    with outage.during(LIMITS[net]):
        nets[net]()

    before = [operation for operation, _ in outage.calls]
    before = before[: before.index("TerminateInstances")]
    assert set(before) <= {"CreateSchedule", "UpdateSchedule", "DescribeInstances"}


def test_a_kind_that_can_never_be_looked_at_is_told_and_does_not_keep_the_verdict_from_the_record(world, hung, nets):
    outage = Outage("ec2", "DescribeNatGateways", "refused")

    with outage.during(LIMITS["status change"]), pytest.raises(sweep_run.LeftoversRemain, match="nat_gateways"):
        nets["status change"]()

    record, entry = world.load(), world.receipt()["inventory"]["nat_gateways"]
    assert (record.reason_code, bool(record.ended_at)) == ("Aborted", True)
    assert "Left: nat_gateways (unknown: DescribeNatGateways was refused: UnauthorizedOperation" in record.cause
    assert (entry["state"], entry["left"]) == ("unknown", [])
    assert "UnauthorizedOperation" in entry["problem"]
    assert world.armed(), "what cannot be seen is looked for again"
