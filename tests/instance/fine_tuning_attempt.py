"""One attempt of a fine-tuning in a process of its own, which tells each step and can be killed."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.shelf import Shelf
from instance.fine_tuning.checkpoints import FineTuningCheckpoints
from instance.fine_tuning.settings import StepReport, TrainingSettings
from instance.hardware import Placement
from instance.models.chronos_fine_tuned import ChronosFineTuned
from instance.series_store import FlatSeries
from tests.instance.samples import storage

CPU = Placement("cpu", "float32")
SETTINGS = TrainingSettings(horizon=8, n_windows=1, steps=40, batch_size=8, learning_rate=3e-3, patience=20, seed=7)


def series(count: int = 20, length: int = 90, covariates: bool = False) -> FlatSeries:
    """Waves of different phase, with a little noise."""
    rng = np.random.default_rng(0)
    steps = np.arange(length)
    waves = [20 + 5 * np.sin(steps * np.pi / 6 + rng.uniform(0, 6)) + rng.normal(0, 0.2, length) for _ in range(count)]
    extra = rng.normal(size=(1, count * length)) if covariates else None
    return FlatSeries(np.concatenate(waves), np.arange(count + 1) * length, past=extra, known=extra)


def checkpoints(client: Any, folder: Path, attempt: int = 1, **depends_on: Any) -> FineTuningCheckpoints:
    """The checkpoints of an attempt, kept in `folder` on its machine."""
    return FineTuningCheckpoints(client, storage(attempt), folder, depends_on)


def main(bucket: Path, weights: Path, folder: Path, mode: str, attempt: int) -> None:
    """Train, and print a line of JSON for each step and one for the end."""
    torch.set_num_threads(1)

    def tell(report: StepReport) -> None:
        print(json.dumps({"step": report.step, "loss": report.loss}), flush=True)

    settings = TrainingSettings(**{**vars(SETTINGS), "steps": 12, "mode": "full" if mode == "bolt" else mode})
    model = ChronosFineTuned(weights, CPU)
    summary = model.train(series(), settings, checkpoints(Shelf(bucket), folder, attempt), tell)
    model.save(folder / "model")
    print(json.dumps({"summary": summary.as_dict()}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
