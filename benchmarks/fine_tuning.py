"""Measures the fine-tuning loop against a bare one, and learning rates on the bundled weights: `make bench`."""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Row, row
from instance.fine_tuning.bolt import LONGEST_GRADIENT, WEIGHT_DECAY, BoltTrainer
from instance.fine_tuning.settings import Progress, TrainingSettings
from instance.hardware import Placement, training_precision
from instance.models.chronos_folder import load_pipeline
from instance.series_store import FlatSeries

WEIGHTS = Path(__file__).parents[1] / "models" / "chronos-bolt-nano"
CPU = Placement("cpu", "float32")
REACH = 0.95
STEPS, ROUNDS = 4, 15
HORIZON, LENGTH, SERIES = 64, 1024, 500


def measure() -> list[Row]:
    """Return the row of `make bench`: both loops take turns on the same machine, so that its load hits both alike."""
    settings = TrainingSettings(horizon=HORIZON, n_windows=1, steps=10_000, batch_size=32)
    with tempfile.TemporaryDirectory() as folder:
        data = mapped_series(Path(folder))
        ours, bare = _ours(data, settings), _bare(data, settings)
        ratios = []
        for round_ in range(ROUNDS + 1):
            # Whichever comes first in a round meets the other's leavings in the cache, so they swap.
            pair = [(ours, 0), (bare, 1)] if round_ % 2 else [(bare, 1), (ours, 0)]
            seconds = [0.0, 0.0]
            for run, place in pair:
                seconds[place] = _timed(run)
            ratios.append(seconds[1] / seconds[0])
    value = statistics.median(ratios[1:])
    name = "Fine-tuning steps per second / a bare loop on ready batches"
    return [row(name, value, REACH)]


def mapped_series(folder: Path) -> FlatSeries:
    """Return random walks with a season, mapped from disk as a run's series are."""
    rng = np.random.default_rng(0)
    season = 5 * np.sin(np.arange(LENGTH) * np.pi / 6)
    walks = np.cumsum(rng.normal(size=(SERIES, LENGTH)), axis=1) + season
    np.save(folder / "values.npy", walks.ravel())
    values = np.load(folder / "values.npy", mmap_mode="r")
    return FlatSeries(values, np.arange(SERIES + 1) * LENGTH, past=None, known=None)


def learning_rates(rates: list[float], steps: int) -> list[dict[str, Any]]:
    """Return the validation loss of the bundled weights before and after `steps`, at each peak learning rate."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = mapped_series(Path(folder))
        settings = TrainingSettings(horizon=HORIZON, n_windows=1, steps=steps)
        for rate in rates:
            trainer = _trainer(data, settings, rate)
            before = trainer.validation_loss()
            trainer.run(Progress(), steps, lambda _: None)
            rows.append({"learning_rate": rate, "before": before, "after": trainer.validation_loss()})
    return rows


def _ours(data: FlatSeries, settings: TrainingSettings) -> Callable[[], None]:
    trainer, progress = _trainer(data, settings), Progress()
    return lambda: trainer.run(progress, progress.step + STEPS, lambda _: None)


def _bare(data: FlatSeries, settings: TrainingSettings) -> Callable[[], None]:
    import torch  # noqa: PLC0415 - imported where it is measured

    trainer = _trainer(data, settings)
    model = trainer.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=trainer.peak, weight_decay=WEIGHT_DECAY, fused=True)
    batches = [trainer.sampler.batch(step, settings.batch_size) for step in range(STEPS)]
    ready = [(torch.from_numpy(context), torch.from_numpy(target)) for context, target in batches]

    def run() -> None:
        for context, target in ready:
            optimizer.zero_grad(set_to_none=True)
            model(context=context, target=target.clone()).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), LONGEST_GRADIENT)
            optimizer.step()

    return run


def _trainer(data: FlatSeries, settings: TrainingSettings, peak: float = 1e-4) -> BoltTrainer:
    return BoltTrainer(load_pipeline(WEIGHTS, CPU), data, settings, peak, CPU, training_precision(CPU))


def _timed(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Print the row of `make bench`, or with --learning-rates the losses that the default was chosen by."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learning-rates", type=float, nargs="*")
    parser.add_argument("--steps", type=int, default=100)
    asked = parser.parse_args()
    rows = learning_rates(asked.learning_rates, asked.steps) if asked.learning_rates else measure()
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
