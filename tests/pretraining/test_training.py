"""A small training learns sines, goes on where it was killed, and saves what Chronos loads. Runs anywhere."""

import json
import stat
from dataclasses import replace

import numpy as np
import pytest
import torch
from chronos import BaseChronosPipeline

from pretraining import checkpoint, validation
from pretraining.__main__ import main
from pretraining.model import build
from pretraining.settings import Architecture, Settings, SettingsChangedError
from pretraining.train import Budget, Training

SMALL = Settings(
    architecture=Architecture(d_model=64, d_kv=16, d_ff=64, num_heads=4, num_layers=1, num_decoder_layers=1),
    values_per_batch=2048,
    context_lengths=(64,),
    muon_rate=0.04,
    adam_rate=4e-3,
)
NEVER = 10_000


class Killed(Exception):
    """Stands for the process being ended from outside."""


def train(settings, steps, out, say=lambda line: None, report_steps=NEVER, checkpoint_steps=NEVER):
    training = Training(settings, Budget(steps=steps), out)
    training.run(say, report_steps, checkpoint_steps)
    return training


def weights(training):
    return {name: value.detach().numpy() for name, value in training.average.model.named_parameters()}


def test_a_short_training_learns_to_go_on_with_a_sine(tmp_path):
    sines = {"sine 12": validation.groups(64)["sine 12"]}
    untrained = validation.ratios(build(SMALL.architecture, 0), sines)["sine 12"]

    trained = train(SMALL, 250, tmp_path)

    # A flat line through the mean stands at 0.75 of the untrained error.
    assert trained.log[-1]["ratios"]["sine 12"] < 0.6 * untrained


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path):
    def die(line):
        raise Killed(line)

    whole = train(SMALL, 6, tmp_path / "whole")
    with pytest.raises(Killed):
        train(SMALL, 6, tmp_path / "killed", say=die, report_steps=4, checkpoint_steps=3)
    taken_up = Training(SMALL, Budget(steps=6), tmp_path / "killed")
    assert taken_up.step == 3
    taken_up.run(lambda line: None, NEVER, NEVER)

    for name, value in weights(whole).items():
        np.testing.assert_array_equal(value, weights(taken_up)[name], err_msg=name)
    assert taken_up.seen == whole.seen
    assert taken_up.smoothed == whole.smoothed


def test_the_seed_decides_the_weights(tmp_path):
    one, same, other = (
        weights(train(replace(SMALL, seed=seed), 2, tmp_path / folder))
        for seed, folder in ((1, "one"), (1, "same"), (2, "other"))
    )

    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["input_patch_embedding.hidden_layer.weight"],
                              other["input_patch_embedding.hidden_layer.weight"])  # fmt: skip


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    train(SMALL, 1, tmp_path)

    with pytest.raises(SettingsChangedError, match="seed"):
        Training(replace(SMALL, seed=5), Budget(steps=2), tmp_path)


def test_a_crash_between_two_renames_leaves_the_older_checkpoint_usable(tmp_path):
    train(SMALL, 2, tmp_path)
    folder = tmp_path / "checkpoint"
    folder.rename(folder.with_suffix(".old"))
    (tmp_path / "checkpoint.new").mkdir()

    found = checkpoint.read(folder, SMALL)

    assert found is not None
    assert found[1]["step"] == 2


def test_the_saved_folder_is_one_that_chronos_loads_and_everybody_may_read(tmp_path):
    trained = train(SMALL, 1, tmp_path)

    pipeline = BaseChronosPipeline.from_pretrained(tmp_path / "model", device_map="cpu", dtype=torch.float32)
    quantiles, _ = pipeline.predict_quantiles(torch.rand(3, 100), 64, [0.1, 0.5, 0.9])
    assert quantiles.shape == (3, 64, 3)
    assert pipeline.model_context_length == 512
    loaded = dict(pipeline.model.named_parameters())
    assert all(np.array_equal(value, loaded[name].detach().numpy()) for name, value in weights(trained).items())
    assert {path.name for path in (tmp_path / "model").iterdir()} >= {"config.json", "model.safetensors"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in (tmp_path / "model").iterdir())


def test_a_budget_of_minutes_ends_by_the_clock_and_one_of_steps_by_the_count():
    assert Budget(minutes=2).progress(step=10**6, seconds=60) == 0.5
    assert Budget(minutes=2).progress(step=0, seconds=500) == 1.0
    assert Budget(steps=10).progress(step=5, seconds=10**6) == 0.5
    assert Budget(steps=10, begins=0.2).progress(step=5, seconds=0) == pytest.approx(0.6)
    assert Budget(steps=10, begins=0.2).progress(step=10, seconds=0) == 1.0


def test_a_training_goes_on_with_finished_weights_and_refuses_those_of_another_architecture(tmp_path):
    first = train(SMALL, 2, tmp_path / "first")
    taken = Training(SMALL, Budget(steps=1), tmp_path / "second", tmp_path / "first" / "model")
    larger = replace(SMALL, architecture=replace(SMALL.architecture, d_ff=96))

    assert all(np.array_equal(value, weights(taken)[name]) for name, value in weights(first).items())
    with pytest.raises(SettingsChangedError, match=r"dense|DenseReluDense"):
        Training(larger, Budget(steps=1), tmp_path / "third", tmp_path / "first" / "model")


def test_the_command_trains_and_writes_what_it_did(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pretraining.__main__.Settings", lambda: SMALL)

    assert main(["--steps", "2", "--out", str(tmp_path), "--seed", "3"]) == 0
    assert main(["--steps", "2", "--out", str(tmp_path), "--seed", "4"]) == 1

    assert json.loads((tmp_path / "training.json").read_text())["steps"] == 2
    said = capsys.readouterr()
    assert "to SeasonalNaive: sine 12" in said.out
    assert "--out" in said.err
