"""Train until the budget is used up, with checkpoints and validation on the way. Runs on a developer's computer."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretraining import checkpoint
from pretraining.curriculum import rate_at
from pretraining.examples import examples
from pretraining.loss import damped, pinball
from pretraining.model import build, save, take
from pretraining.optimizer import Average, Optimizers
from pretraining.settings import Settings
from pretraining.validation import groups, ratios

if TYPE_CHECKING:
    import torch

LARGEST_GRADIENT = 1.0
SMOOTHING = 0.98


@dataclass(frozen=True)
class Budget:
    """When the training is over: after `steps`, or after `minutes` of work, whichever is given.

    With steps the result depends on the settings alone; with minutes also on how fast the computer is.

    Parameters
    ----------
    minutes : float, optional
    steps : int, optional
    begins : float
        Where in the curriculum the training begins, 0 to 1.
    """

    minutes: float | None = None
    steps: int | None = None
    begins: float = 0.0

    def progress(self, step: int, seconds: float) -> float:
        """Return how far the training is, `begins` to 1."""
        used = self._used(step, seconds)
        return self.begins + (1 - self.begins) * used if used < 1 else 1.0

    def _used(self, step: int, seconds: float) -> float:
        if self.steps is not None:
            return step / self.steps
        return seconds / (60 * self.minutes) if self.minutes else 1.0


class Training:
    """One training, new or taken up again from the checkpoint in `out`.

    Parameters
    ----------
    settings : Settings
    budget : Budget
    out : Path
        Gets the folders checkpoint/ and model/ and the file training.json.
    weights : Path, optional
        Folder of weights of the same architecture to begin with instead of random ones.
    """

    def __init__(self, settings: Settings, budget: Budget, out: Path, weights: Path | None = None) -> None:
        self.settings, self.budget, self.out = settings, budget, out
        self.model = build(settings.architecture, settings.seed)
        if weights is not None:
            take(self.model, weights)
        self.optimizers = Optimizers(self.model, settings)
        self.average = Average(self.model, settings.average_decay)
        self.step, self.seconds, self.seen, self.smoothed = 0, 0.0, 0, 0.0
        self.log: list[dict[str, Any]] = []
        self._resume()

    def run(self, say: Callable[[str], None], report_steps: int, checkpoint_steps: int) -> dict[str, Any]:
        """Train until the budget is used up; returns what training.json holds."""
        sets = groups(self.settings.architecture.prediction_length)
        self.model.train()
        while (progress := self.budget.progress(self.step, self.seconds)) < 1:
            began = time.monotonic()
            self._take_step(progress)
            self.seconds += time.monotonic() - began
            if self.step % report_steps == 0:
                self._report(say, ratios(self.average.model, sets))
            if self.step % checkpoint_steps == 0:
                self._checkpoint()
        self._checkpoint()
        self._report(say, ratios(self.average.model, sets))
        return self._finish()

    def _take_step(self, progress: float) -> None:
        import torch  # noqa: PLC0415 - seconds to import, and only for those who train

        sizes = self.settings.architecture
        lengths = self.settings.context_lengths
        context_length = int(np.random.default_rng([self.settings.seed, self.step, 1]).choice(lengths))
        n = max(self.settings.values_per_batch // context_length, 1)
        batch = examples(self.settings.seed, self.step, progress, n, context_length, sizes.prediction_length)
        quantiles = self.model(context=torch.from_numpy(batch.context)).quantile_preds
        losses = pinball(quantiles, torch.from_numpy(batch.target), torch.from_numpy(batch.scale))
        loss = damped(losses)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT)
        self.optimizers.step(rate_at(self.step, progress))
        self.step += 1
        self.seen += n
        self.average.update(self.model, self.step)
        self.smoothed = loss.item() if self.step == 1 else SMOOTHING * self.smoothed + (1 - SMOOTHING) * loss.item()

    def _report(self, say: Callable[[str], None], found: dict[str, float]) -> None:
        rounded = {name: round(value, 3) for name, value in found.items()}
        self.log.append({**self._counters(), "ratios": rounded})
        figures = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        so_far = f"step {self.step}, {self.seen} series, {self.seconds:.0f} s, loss {self.smoothed:.3f}"
        say(f"{so_far}; to SeasonalNaive: {figures}")

    def _counters(self) -> dict[str, Any]:
        return {"step": self.step, "seen": self.seen, "seconds": self.seconds, "smoothed": self.smoothed}

    def _checkpoint(self) -> None:
        tensors: dict[str, torch.Tensor] = {
            **{f"model/{name}": value for name, value in self.model.named_parameters()},
            **{f"average/{name}": value for name, value in self.average.model.named_parameters()},
            **self.optimizers.tensors(),
        }
        progress = {**self._counters(), "log": self.log}
        checkpoint.write(self.out / "checkpoint", tensors, progress, self.settings)

    def _resume(self) -> None:
        import torch  # noqa: PLC0415 - seconds to import, and only for those who train

        found = checkpoint.read(self.out / "checkpoint", self.settings)
        if found is None:
            return
        tensors, progress = found
        with torch.no_grad():
            for prefix, model in (("model/", self.model), ("average/", self.average.model)):
                for name, weights in model.named_parameters():
                    weights.copy_(tensors[prefix + name])
        self.optimizers.restore(tensors)
        self.step, self.seconds, self.seen = progress["step"], progress["seconds"], progress["seen"]
        self.smoothed, self.log = progress["smoothed"], progress["log"]

    def _finish(self) -> dict[str, Any]:
        save(self.average.model, self.out / "model")
        summary = {
            "settings": self.settings.as_json(),
            "parameters": sum(weights.numel() for weights in self.model.parameters()),
            "steps": self.step,
            "series": self.seen,
            "seconds": round(self.seconds),
            "log": self.log,
        }
        (self.out / "training.json").write_text(json.dumps(summary, indent=2) + "\n")
        return summary
