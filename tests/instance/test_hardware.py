"""A machine without NVIDIA's driver is known for one without loading PyTorch."""

import subprocess
import sys

import pytest

PROBE = """
import sys
from instance import hardware
hardware.DRIVER_LIBRARY = sys.argv[1]
print(hardware.probe().cuda, "torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("library", "loads_torch"),
    [("libno-such-driver.so.1", "False"), ("libc.so.6", "True")],
    ids=["no driver", "a library in the driver's place"],
)
def test_torch_is_loaded_only_where_there_is_a_driver(library: str, loads_torch: str) -> None:
    told = subprocess.run([sys.executable, "-c", PROBE, library], capture_output=True, text=True, check=True)

    assert told.stdout.split()[1] == loads_torch
