"""What a fine-tuning is asked for, what it tells while it runs, and what it gave. Pure. Runs in the worker."""

from dataclasses import asdict, dataclass, field
from typing import Any

VALIDATIONS = 20


@dataclass(frozen=True)
class TrainingSettings:
    """How to fine-tune.

    Parameters
    ----------
    horizon : int
        Steps that the run forecasts.
    n_windows : int
        Backtest windows; nothing after the first cutoff is learnt from.
    mode : str
        `full` or `lora`.
    steps : int
        Most optimizer steps.
    learning_rate : float, optional
        Peak; None takes that of the family.
    batch_size : int
        Series windows in one step.
    accumulation : int
        Parts a batch is split into.
    patience : int
        Validations without an improvement before it stops.
    seed : int
        Of every random choice.
    """

    horizon: int
    n_windows: int
    mode: str = "full"
    steps: int = 300
    learning_rate: float | None = None
    batch_size: int = 64
    accumulation: int = 1
    patience: int = 5
    seed: int = 0

    @property
    def segment(self) -> int:
        """Steps between two validations, each followed by a checkpoint: a twentieth of all."""
        return max(1, self.steps // VALIDATIONS)


def settings_of(request: dict[str, Any], horizon: int, n_windows: int) -> TrainingSettings:
    """Return the settings that a run request with its defaults asks for."""
    return TrainingSettings(
        horizon=horizon,
        n_windows=n_windows,
        mode=request["fine_tuning_mode"],
        steps=request["fine_tuning_steps"],
        learning_rate=request["fine_tuning_learning_rate"],
        batch_size=request["fine_tuning_batch_size"],
        accumulation=request["fine_tuning_accumulation"],
        patience=request["fine_tuning_patience"],
        seed=request["seed"],
    )


@dataclass(frozen=True)
class StepReport:
    """One optimizer step: its number from 1, how many there are at most, its loss, and series windows a second.

    The loss is None where float16 overflowed and the step was skipped.
    """

    step: int
    total: int
    loss: float | None
    series_per_second: float


@dataclass
class Progress:
    """How far a fine-tuning is; what its checkpoints say beside the tensors.

    Parameters
    ----------
    step : int
        Steps done.
    losses : list of float or None
        Of each step.
    validations : list of (step, loss)
        The first is of the weights as they came.
    accumulation : int
        Parts a batch is split into by now; out-of-memory doubles it.
    ended : bool
        Whether no step is left to do.
    """

    step: int = 0
    losses: list[float | None] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)
    accumulation: int = 1
    ended: bool = False

    @property
    def best(self) -> tuple[int, float]:
        """Step and loss of the best validation; the earlier of equals."""
        return min(self.validations, key=lambda validation: validation[1])

    @property
    def stale(self) -> int:
        """Validations since the best one."""
        return sum(step > self.best[0] for step, _ in self.validations)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Progress":
        """Read what `as_dict` wrote; raises TypeError, KeyError or ValueError on anything else."""
        progress = cls(**values)
        progress.validations = [(int(step), float(loss)) for step, loss in progress.validations]
        return progress


@dataclass(frozen=True)
class TrainingSummary:
    """What a fine-tuning gave.

    Parameters
    ----------
    steps, best_step : int
        Steps done, and the one whose weights are kept; 0 means the weights as they came.
    first_validation_loss, best_validation_loss : float
        The model's own quantile loss on the steps before the first cutoff.
    stopped_early : bool
    resumed_from_step : int
        0 if no earlier attempt left a checkpoint.
    loss_curve : list of float or None
        Training loss of each step, those of earlier attempts included.
    seconds : float
        Of this attempt.
    learning_rate : float
        Peak.
    """

    steps: int
    best_step: int
    first_validation_loss: float
    best_validation_loss: float
    stopped_early: bool
    resumed_from_step: int
    loss_curve: list[float | None]
    seconds: float
    learning_rate: float

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)
