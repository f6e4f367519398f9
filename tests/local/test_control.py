"""The command lines of shutdown, the patterns of capacity.json, and files a person wrote wrongly."""

import json
from pathlib import Path

import pytest

from local.capacity import CapacityFaults, status_of
from local.control import shutdown_minutes
from local.state_folder import read_json


@pytest.mark.parametrize(
    ("line", "minutes"),
    [("-P now", 0.0), ("-h now", 0.0), ("-P +180", 180.0), ("+5", 5.0), ("-P", 1.0), ("-c", None), ("-P +3 bye", 3.0)],
)
def test_shutdown_command_line_is_understood(line: str, minutes: float | None) -> None:
    assert shutdown_minutes(line.split()) == minutes


@pytest.mark.parametrize("line", ["-P 23:30", "-r now", "soon"])
def test_shutdown_command_line_raises_when_it_is_not_understood(line: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        shutdown_minutes(line.split())


@pytest.mark.parametrize(
    ("pattern", "hit"),
    [
        ("g4dn.2xlarge", True),
        ("g4dn.*", True),
        ("*/spot", True),
        ("*/*/us-east-1a", True),
        ("g4dn.xlarge", False),
        ("*/on_demand", False),
        ("*/spot/us-east-1b", False),
    ],
)
def test_capacity_pattern_matches_type_market_and_zone(tmp_path: Path, pattern: str, hit: bool) -> None:
    path = tmp_path / "capacity.json"
    path.write_text(json.dumps({pattern: "InsufficientInstanceCapacity"}))
    code = CapacityFaults(path).error_for("g4dn.2xlarge", "spot", "us-east-1a")
    assert code == ("InsufficientInstanceCapacity" if hit else None)


def test_capacity_is_there_without_the_file(tmp_path: Path) -> None:
    assert CapacityFaults(tmp_path / "capacity.json").error_for("g4dn.2xlarge", "spot", "us-east-1a") is None


def test_lack_of_capacity_is_a_server_error_and_a_limit_is_the_callers() -> None:
    assert (status_of("InsufficientInstanceCapacity"), status_of("VcpuLimitExceeded")) == (500, 400)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_malformed_file_raises_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "quotas.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"quotas\.json: expected a JSON object"):
        read_json(path)
