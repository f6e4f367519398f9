"""Every number that decides what a training makes, saved beside its weights. Runs on a developer's computer."""

from dataclasses import asdict, dataclass, field
from typing import Any

QUANTILE_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class SettingsChangedError(ValueError):
    """A checkpoint was made with other settings than those asked for."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of a Chronos-Bolt model; the names are those of transformers' T5Config and of Chronos' own configuration.

    The relative positions are told apart up to 64 patches, which is all of them: a season is copied from a position.
    """

    d_model: int = 128
    d_kv: int = 16
    d_ff: int = 256
    num_heads: int = 8
    num_layers: int = 4
    num_decoder_layers: int = 2
    patch_size: int = 8
    context_length: int = 512
    prediction_length: int = 64


@dataclass(frozen=True)
class Settings:
    """One training.

    Parameters
    ----------
    architecture : Architecture
    seed : int
        Of the weights and, with the number of the step, of each batch.
    values_per_batch : int
        Context values in a batch; longer contexts make smaller batches.
    context_lengths : tuple of int
        One is drawn for each step, each as often as it stands here.
    muon_rate, adam_rate : float
        Learning rates of the matrices inside the blocks, and of everything else.
    average_decay : float
        Of the exponential moving average of the weights, which is what is saved.
    """

    architecture: Architecture = field(default_factory=Architecture)
    seed: int = 0
    values_per_batch: int = 16384
    context_lengths: tuple[int, ...] = (64, 128, 256, 512)
    muon_rate: float = 0.02
    adam_rate: float = 2e-3
    average_decay: float = 0.998

    def as_json(self) -> dict[str, Any]:
        """Return plain values, equal for equal settings."""
        return {**asdict(self), "context_lengths": list(self.context_lengths)}
