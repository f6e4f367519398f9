"""The forward pass for a CPU gives what the model of chronos-forecasting gives. Runs with pytest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from instance.hardware import Placement
from instance.models.bolt_on_cpu import BoltOnCpu
from instance.models.chronos_folder import load_pipeline
from instance.models.torch_threads import executor
from pretraining.model import build
from pretraining.settings import Architecture

BUNDLED = Path(__file__).parent.parent.parent / "models" / "chronos-bolt-nano"


@pytest.fixture(scope="module")
def bundled() -> Any:
    return load_pipeline(BUNDLED, Placement("cpu", "float32")).model


@pytest.fixture(scope="module")
def scattered() -> Any:
    """Every weight random: nothing is zero or symmetric that training leaves so."""
    sizes = Architecture(d_model=24, d_kv=6, d_ff=40, num_heads=3, num_layers=3, num_decoder_layers=2, patch_size=4)
    model = build(sizes, seed=5).eval()
    with torch.no_grad():
        for index, weights in enumerate(model.parameters()):
            torch.manual_seed(index)
            weights.add_(0.3 * torch.randn_like(weights))
    return model


def contexts(width: int) -> torch.Tensor:
    """Walks: whole, beginning late, with gaps, with patches missing in the middle, and constant."""
    torch.manual_seed(width)
    rows = torch.randn(6, width).cumsum(dim=1) * 10 + 100
    rows[1, : width // 2] = float("nan")
    rows[2, torch.rand(width) < 0.3] = float("nan")
    rows[3, width // 4 : width // 2] = float("nan")
    rows[4, :-1] = float("nan")
    rows[5] = 7.0
    return rows


@pytest.mark.parametrize("width", [3, 8, 61, 64, 300, 512])
@pytest.mark.parametrize("which", ["bundled", "scattered"])
def test_the_quantiles_are_those_of_the_model(which: str, width: int, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    assert BoltOnCpu.supports(model)
    for rows in (contexts(width), contexts(width)[:1]):
        with torch.inference_mode():
            expected, found = model(context=rows).quantile_preds, BoltOnCpu(model)(rows)
        assert found.shape == expected.shape
        spread = (expected - rows.nanmean(dim=1)[:, None, None]).abs().amax().clamp(min=1)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=float(1e-5 * spread))


@dataclass
class Other:
    """What `supports` looks at."""

    config: Any
    chronos_config: Any
    device: Any
    dtype: Any


def test_other_forms_are_left_to_the_model_itself(bundled: Any) -> None:
    def changed(**fields: Any) -> Other:
        looked_at = ("config", "chronos_config", "device", "dtype")
        return Other(**({name: getattr(bundled, name) for name in looked_at} | fields))

    gated = type(bundled.config)(**(bundled.config.to_dict() | {"feed_forward_proj": "gated-gelu"}))
    assert BoltOnCpu.supports(changed())
    assert not BoltOnCpu.supports(changed(config=gated))
    assert not BoltOnCpu.supports(changed(device=torch.device("cuda")))
    assert not BoltOnCpu.supports(changed(dtype=torch.float16))


def test_each_thread_keeps_to_one_core_and_leaves_the_others_alone() -> None:
    before = torch.get_num_threads()
    with executor(2) as threads:
        assert [threads.submit(torch.get_num_threads).result() for _ in range(4)] == [1, 1, 1, 1]
        torch.set_num_threads(before)
        assert threads.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == before


def test_one_thread_computes_at_once_and_raises_at_once() -> None:
    with executor(1) as threads:
        assert threads.submit(pow, 2, 5).result() == 32
        with pytest.raises(ZeroDivisionError):
            threads.submit(divmod, 1, 0)
