"""What a spot instance costs: asked of EC2 once it is launched, never at the launch's expense. Runs on moto."""

import socket
from datetime import UTC, datetime

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.parsers import ResponseParserError

from contracts.prices import machine_cost
from contracts.reasons import RunEnded
from lambdas import record_run
from lambdas.adapters import clients, compute
from lambdas.flows.recording import ended_attempts

ASKED_AT = datetime(2026, 11, 23, 18, 1, tzinfo=UTC)
# What moto's EC2 asks for every type in every zone.
MOTO_USD = 0.00001


def price(usd="0.2834", zone="us-east-1a", kind="g4dn.2xlarge", at=ASKED_AT):
    """Return a price as EC2 lists it."""
    return {
        "InstanceType": kind, "AvailabilityZone": zone, "SpotPrice": usd, "Timestamp": at,
        "ProductDescription": "Linux/UNIX",
    }  # fmt: skip


@pytest.fixture
def quote(world):
    """Return a function that sets what EC2 answers, or raises, and gives the list of what it is asked."""

    def answer_with(answer):
        asked = []

        def describe_spot_price_history(**given):
            asked.append((given, len(world.instances()), world.load().instance_id))
            if isinstance(answer, Exception):
                raise answer
            return {"SpotPriceHistory": answer}

        world.ec2.describe_spot_price_history = describe_spot_price_history
        return asked

    return answer_with


@pytest.fixture
def settle(world, event):
    """Return a function that ends the run's instance after ten minutes, records the run and gives its record."""

    def call():
        world.clock.now += 600
        record = world.load()
        world.cloud.runs.note(record, ended_attempts(record, world.clock.now))
        record_run.handler(event("state_record_run"), world.context)
        return world.load()

    return call


def test_the_price_of_the_zone_goes_on_record_with_the_instance(world, launch):
    world.register({"market": "spot"})

    launch()

    (attempt,) = world.load().attempts
    assert (attempt.instance_id, attempt.spot_usd_per_hour) == (world.load().instance_id, MOTO_USD)


def test_the_price_is_asked_for_once_there_is_an_instance_where_it_was_launched(world, launch, quote):
    world.register({"market": "spot", "instance_types": ["g4dn.xlarge", "g4dn.2xlarge"]})
    world.ec2.refusals = ["InsufficientInstanceCapacity"] * 4
    asked = quote([price(zone="us-east-1b")])

    launch()

    ((given, instances, recorded),) = asked
    assert (instances, recorded) == (1, "")
    assert given == {
        "InstanceTypes": ["g4dn.2xlarge"], "ProductDescriptions": ["Linux/UNIX"], "AvailabilityZone": "us-east-1b",
        "StartTime": ASKED_AT, "MaxResults": 10,
    }  # fmt: skip
    assert world.load().attempts[0].spot_usd_per_hour == 0.2834


def test_of_several_prices_the_newest_of_the_type_and_zone_counts(world, launch, quote):
    world.register({"market": "spot"})
    later = ASKED_AT.replace(minute=2)
    quote([
        price("0.1", at=ASKED_AT.replace(hour=3)), price("0.2"), price("0.9", zone="us-east-1b", at=later),
        price("0.8", kind="g4dn.xlarge", at=later),
    ])  # fmt: skip

    launch()

    assert world.load().attempts[0].spot_usd_per_hour == 0.2


def test_nobody_asks_for_the_price_of_an_on_demand_instance(world, launch, quote):
    world.register()
    asked = quote([price()])

    launch()

    assert asked == []
    assert world.load().attempts[0].spot_usd_per_hour is None


def refused(code):
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeSpotPriceHistory")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (refused("UnauthorizedOperation"), "UnauthorizedOperation"),
        (refused("RequestLimitExceeded"), "RequestLimitExceeded"),
        (refused("InternalError"), "InternalError"),
        (ReadTimeoutError(endpoint_url="https://ec2"), "Read timeout"),
        (ConnectionClosedError(endpoint_url="https://ec2"), "Connection was closed"),
        (ResponseParserError("Unable to parse response"), "Unable to parse"),
        ([], "expected a price of g4dn.2xlarge in us-east-1a, found 0 others"),
        ([price(zone="us-east-1b")], "expected a price of g4dn.2xlarge in us-east-1a, found 1 others"),
        ([price("free")], "free"),
        ([price("0")], "expected a positive number"),
        ([price("nan")], "expected a positive number"),
        ([{"InstanceType": "g4dn.2xlarge"}], "KeyError"),
    ],
)
def test_without_a_price_the_launch_succeeds_and_the_price_list_counts(
    world, launch, quote, settle, log_text, answer, problem
):
    world.register({"market": "spot"})
    asked = quote(answer)

    launch()

    record = settle()
    assert len(asked) == 1
    assert world.instances() == [record.instance_id]
    assert record.attempts[0].spot_usd_per_hour is None
    assert "EC2 named no spot price" in log_text()
    assert problem in log_text()
    assert record.cost["instance_prices"] == [
        {"instance_id": record.instance_id, "usd_per_hour": 0.4, "price_from": "price_list"}
    ]
    assert record.cost["instance_usd"] == pytest.approx(0.4 / 6, abs=1e-6)


def test_a_call_that_hangs_is_given_up_soon(world, monkeypatch, log_text):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(compute, "PRICE_SECONDS", 0.2)
        real, made = boto3.client, []

        def elsewhere(service, config: Config):
            made.append(config)
            return real(service, endpoint_url=address, config=config)

        monkeypatch.setattr(compute, "client", clients.client.__wrapped__)
        monkeypatch.setattr(clients.boto3, "client", elsewhere)

        assert world.cloud.compute.spot_usd_per_hour("g4dn.2xlarge", "us-east-1a", 1795456860) is None

    assert "Read timeout" in log_text()
    (config,) = made
    assert (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"]) == (0.2, 0.2, 2)


def test_the_cost_of_a_run_and_the_registry_follow_the_price_of_the_launch(world, launch, quote, settle):
    world.register({"market": "spot"})
    quote([price("0.283400")])

    launch()

    record = settle()
    used = {"instance_id": record.instance_id, "usd_per_hour": 0.2834, "price_from": "launch"}
    assert record.cost["instance_usd"] == pytest.approx(0.2834 / 6, abs=1e-6)
    assert record.cost["volume_usd"] == pytest.approx(machine_cost("g4dn.2xlarge", "spot", 600).volume_usd, abs=1e-6)
    assert world.document("control_registry.json")["runs"][0]["cost"]["instance_prices"] == [used]


def test_a_repeated_call_keeps_the_price_of_the_launch(world, launch, quote):
    world.register({"market": "spot"})
    quote([price("0.2834")])
    launch(task_token="first")
    asked = quote([price("0.9")])

    launch(task_token="second")

    assert asked == []
    assert [a.spot_usd_per_hour for a in world.load().attempts] == [0.2834]


def test_a_function_that_dies_before_it_records_the_instance_asks_for_the_price_again(world, launch, quote):
    world.register({"market": "spot"})
    quote([price()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(world.cloud.runs), "note_attempt", lambda *_: pytest.fail("the function dies here"))
        with pytest.raises(pytest.fail.Exception):
            launch()
    assert world.load().attempts == ()

    launch(task_token="second")

    (attempt,) = world.load().attempts
    assert [attempt.instance_id] == world.instances()
    assert attempt.spot_usd_per_hour == 0.2834


def test_a_run_that_ends_while_the_price_is_asked_for_keeps_no_instance(world, launch):
    record = world.register({"market": "spot"})

    def closing(**_):
        world.cloud.runs.close(record, {"closed_at": 1, "task_token": ""})
        return {"SpotPriceHistory": [price()]}

    world.ec2.describe_spot_price_history = closing

    with pytest.raises(RunEnded):
        launch()

    (instance_id,) = world.instances()
    assert world.instance_state(instance_id) == "terminated"


def test_the_next_attempt_has_a_price_of_its_own(world, launch, quote):
    world.register({"market": "spot"})
    quote([price("0.3")])
    launch()
    quote([price("0.5", zone=zone) for zone in ("us-east-1a", "us-east-1b", "us-east-1c")])

    launch(attempt=2)

    assert [(a.attempt, a.spot_usd_per_hour) for a in world.load().attempts] == [(1, 0.3), (2, 0.5)]
