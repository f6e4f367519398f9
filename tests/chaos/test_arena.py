"""One case of each kind of the fault matrix, and some nets alone, on an embedded cloud. Runs with pytest."""

from collections.abc import Iterator

import pytest

from chaos.arena import SPEED, Arena
from chaos.cases import calls, capacity, events, people, tasks
from chaos.function_cases import again, killed, late
from chaos.machine_cases import machine
from chaos.net_cases import nets, outages
from chaos.pairs import pairs
from chaos.scenarios import play
from chaos.stack_cases import versions
from chaos.verdicts import failures
from local.server import INSTANCE_ENDPOINT

pytestmark = [pytest.mark.emulator, pytest.mark.slow]
SAMPLE = {
    c.name: c
    for c in [
        *(c for c in calls("lambda:LaunchInstance", "ec2", "RunInstances") if "lost" in c.name),
        *(c for c in calls("instance", "s3", "PutObject") if c.name.endswith("throttled, then fine")),
        *(c for c in tasks("Cleanup") if "lost" in c.name),
        *(c for c in machine() if c.name in ("machine killed in boot", "machine disk full in preflight")),
        *(c for c in events() if c.name == "events Object Created doubled"),
        *(c for c in people() if c.name == "people abort in LaunchInstance"),
        *(c for c in capacity() if "launched and answered" in c.name and "for long" not in c.name),
        # tests/e2e/test_faults.py has the other two.
        *(c for c in nets() if c.fault["net"] in ("catch", "rule")),
        *(c for c in calls("lambda:StartFromUpload", "stepfunctions", "StartExecution") if "lost" in c.name),
        *(c for c in killed({"LaunchInstance": ["ec2:RunInstances"]}) if "Exit" in c.name),
        *(c for c in late({}) if c.name == "late AwaitTraining beside its retry"),
        *(c for c in again() if c.name == "async SweepRun fails for good after an abort"),
        *(c for c in outages() if c.fault["net"] == "rule" and c.name.endswith("DescribeNatGateways refused")),
        *(c for c in outages() if c.fault["net"] == "dead man" and c.name.endswith("dynamodb hanging")),
        *(c for c in versions() if c.fault["do"] == "update"),
        *pairs([*calls("lambda:CollectOutcome", "s3", "GetObject"), *tasks("LaunchInstance"), *machine()], 1, seed=4),
    ]
}


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with pytest.MonkeyPatch.context() as patch:
        # Arena sets them for its server; without this they would stay for the tests that follow.
        for name in (*SPEED, INSTANCE_ENDPOINT):
            patch.setenv(name, "")
        made = Arena(tmp_path_factory.mktemp("chaos"))
        yield made
        made.close()


@pytest.mark.parametrize("name", SAMPLE)
def test_case(arena: Arena, name: str) -> None:
    case = SAMPLE[name]

    outcome = play(arena, case)

    assert failures(case, outcome) == [], outcome
