"""The weights in the repository repeat seasons, which the ones before them did not. Runs anywhere."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from chronos import BaseChronosPipeline

from pretraining.settings import QUANTILE_LEVELS, Settings
from pretraining.validation import groups, ratios

WEIGHTS = Path(__file__).parents[2] / "models" / "chronos-bolt-nano"
LARGEST_BYTES = 5_000_000


@pytest.fixture(scope="module")
def pipeline():
    return BaseChronosPipeline.from_pretrained(WEIGHTS, device_map="cpu", dtype=torch.float32)


def test_a_clean_sine_goes_on(pipeline):
    steps = np.arange(240 + 24)
    sine = torch.tensor(np.sin(2 * np.pi * steps / 12), dtype=torch.float32)

    quantiles, _ = pipeline.predict_quantiles(sine[None, :240], 24, [0.5])

    error = (quantiles[0, :, 0] - sine[240:]).abs().mean() / sine[240:].abs().mean()
    assert error < 0.1


# To repeat the last season is 1, a flat line about 12 to 15; the weights that these replaced stood at 10 to 14.
@pytest.mark.parametrize(("name", "bound"), [("sine 12", 1.0), ("profile 12", 1.3), ("profile 24", 2.0)])
def test_a_season_with_little_noise_is_repeated(pipeline, name, bound):
    chosen = {name: groups(64)[name]}

    assert ratios(pipeline.model, chosen)[name] < bound


def test_the_folder_is_small_readable_and_made_with_the_settings_that_stand_in_the_code():
    config = json.loads((WEIGHTS / "config.json").read_text())
    sizes = Settings().architecture

    assert (WEIGHTS / "model.safetensors").stat().st_size <= LARGEST_BYTES
    assert stat.S_IMODE((WEIGHTS / "model.safetensors").stat().st_mode) & 0o444 == 0o444
    assert {path.name for path in WEIGHTS.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    assert [config[name] for name in ("d_model", "d_kv", "d_ff", "num_heads", "num_layers", "num_decoder_layers")] == [
        sizes.d_model, sizes.d_kv, sizes.d_ff, sizes.num_heads, sizes.num_layers, sizes.num_decoder_layers,
    ]  # fmt: skip
    assert config["chronos_config"] == {
        "context_length": 512,
        "input_patch_size": sizes.patch_size,
        "input_patch_stride": sizes.patch_size,
        "prediction_length": 64,
        "quantiles": list(QUANTILE_LEVELS),
        "use_reg_token": True,
    }
