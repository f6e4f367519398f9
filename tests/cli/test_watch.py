"""`watch` outlives a network that goes away for a while. Runs offline, on moto."""

import json
from collections.abc import Iterator
from io import StringIO

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError
from moto import mock_aws

from cli import watch
from cli.stack import Stack

STACK = Stack(state_machine_arn="arn", bucket="bucket", runs_table="runs")


class Network:
    """The way from this computer to AWS, which a test takes away."""

    away = False

    def send(self, request: object, **_: object) -> None:
        if self.away:
            raise ConnectTimeoutError(endpoint_url="https://states.us-east-1.amazonaws.com")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.0)
    with mock_aws():
        network, session = Network(), boto3.Session()
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
        session.events.register_first("before-send", network.send)
        yield network


@pytest.fixture
def execution_arn(network: Network) -> str:
    states = boto3.client("stepfunctions")
    definition = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}}
    role = "arn:aws:iam::123456789012:role/states"
    machine = states.create_state_machine(name="training", definition=json.dumps(definition), roleArn=role)
    return str(states.start_execution(stateMachineArn=machine["stateMachineArn"], input="{}")["executionArn"])


def test_a_network_that_comes_back_changes_nothing(network: Network, execution_arn: str) -> None:
    glances = watch.glances(STACK, execution_arn)
    before = next(glances)
    network.away = True
    away = [next(glances), next(glances)]
    network.away = False
    boto3.client("stepfunctions").stop_execution(executionArn=execution_arn)

    assert before.status == watch.RUNNING
    assert before.progress == ""
    assert [(glance.state, glance.progress) for glance in away] == [(before.state, watch.UNHEARD)] * 2
    assert [glance.status for glance in glances] == ["ABORTED"]


def test_it_is_said_once_that_the_network_is_away(
    network: Network, execution_arn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 0.2)
    network.away, out = True, StringIO()

    with pytest.raises(ConnectTimeoutError):
        watch.follow(STACK, execution_arn, out)

    assert out.getvalue().count(watch.UNHEARD) == 1
