"""A fine-tuning from start or checkpoint to the best weights, whatever the family. Runs in the worker."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

from contracts.reasons import TrainingDiverged
from instance.fine_tuning.checkpoints import FineTuningCheckpoints, Saved
from instance.fine_tuning.schedule import segment_ends
from instance.fine_tuning.settings import Progress, StepReport, TrainingSettings, TrainingSummary
from instance.fine_tuning.weights import Tensors, joined, part

logger = logging.getLogger(__name__)

NOW, BEST, MOMENTS = "now/", "best/", "moments/"


class Trainer(Protocol):
    """What one family trains with; `run` and `validation_loss` raise TrainingDiverged and OutOfMemory."""

    peak: float

    def run(self, progress: Progress, last: int, on_step: Callable[[StepReport], None]) -> None:
        """Do the steps after `progress.step` up to `last`, and note them in `progress`."""

    def validation_loss(self) -> float:
        """Return the loss on the steps before the first cutoff."""

    def weights(self) -> Tensors:
        """Return a copy of the weights that learn."""

    def put_weights(self, weights: Tensors) -> None:
        """Overwrite the weights that learn."""

    def moments(self) -> Tensors:
        """Return a copy of the optimizer's moments."""

    def put_moments(self, moments: Tensors) -> None:
        """Overwrite the optimizer's moments."""

    def scaler_state(self) -> dict[str, Any]:
        """Return the state of the gradient scaler, as JSON values."""

    def put_scaler_state(self, state: dict[str, Any]) -> None:
        """Overwrite the state of the gradient scaler."""

    def tuned(self) -> Any:
        """Return the whole model with the weights that learn in it, ready for `save_pretrained`."""


def fine_tune(
    trainer: Trainer,
    settings: TrainingSettings,
    checkpoints: FineTuningCheckpoints,
    on_step: Callable[[StepReport], None],
) -> TrainingSummary:
    """Train, validate every twentieth of the steps, keep the best weights, and leave them in the trainer.

    The weights as they came count as the first candidate, so that fine-tuning never makes the validation loss worse.

    Raises
    ------
    TrainingDiverged, OutOfMemory
        See `Trainer`.
    """
    began = time.monotonic()
    progress, best = _begin(trainer, settings, checkpoints)
    resumed_from = progress.step
    if resumed_from:
        last = progress.losses[-1]
        on_step(StepReport(resumed_from, settings.steps, last, 0.0))
    for end in [] if progress.ended else segment_ends(progress.step, settings.steps, settings.segment):
        trainer.run(progress, end, on_step)
        _validate(trainer, progress)
        if progress.best[0] == progress.step:
            best = trainer.weights()
        progress.ended = progress.step == settings.steps or progress.stale >= settings.patience
        checkpoints.save(_saved(trainer, progress, best))
        if progress.ended:
            break
    trainer.put_weights(best)
    checkpoints.close()
    return _summary(progress, settings, resumed_from, time.monotonic() - began, trainer.peak)


def _begin(
    trainer: Trainer, settings: TrainingSettings, checkpoints: FineTuningCheckpoints
) -> tuple[Progress, Tensors]:
    saved = checkpoints.newest()
    if saved is None:
        progress = Progress(accumulation=min(settings.accumulation, settings.batch_size))
        _validate(trainer, progress)
        return progress, trainer.weights()
    now = part(NOW, saved.tensors)
    best = now if saved.progress.best[0] == saved.progress.step else part(BEST, saved.tensors)
    trainer.put_weights(now)
    trainer.put_moments(part(MOMENTS, saved.tensors))
    trainer.put_scaler_state(saved.scaler)
    logger.info("fine-tuning goes on after step %d", saved.progress.step)
    return saved.progress, best


def _saved(trainer: Trainer, progress: Progress, best: Tensors) -> Saved:
    tensors = joined(NOW, trainer.weights()) | joined(MOMENTS, trainer.moments())
    if progress.best[0] != progress.step:
        tensors |= joined(BEST, best)
    return Saved(progress, tensors, trainer.scaler_state())


def _validate(trainer: Trainer, progress: Progress) -> None:
    loss = trainer.validation_loss()
    if not math.isfinite(loss):
        raise TrainingDiverged(
            f"fine-tuning, step {progress.step}: expected a finite validation loss, found {loss}. "
            "Look for extreme values before the first backtest window."
        )
    progress.validations.append((progress.step, loss))


def _summary(
    progress: Progress, settings: TrainingSettings, resumed_from: int, seconds: float, peak: float
) -> TrainingSummary:
    best_step, best_loss = progress.best
    return TrainingSummary(
        steps=progress.step,
        best_step=best_step,
        first_validation_loss=progress.validations[0][1],
        best_validation_loss=best_loss,
        stopped_early=progress.step < settings.steps,
        resumed_from_step=resumed_from,
        loss_curve=progress.losses,
        seconds=round(seconds, 3),
        learning_rate=peak,
    )
