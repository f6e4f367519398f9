"""Two optimizers in one, and the running average of the weights. Runs on a developer's computer."""

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pretraining.settings import Settings

if TYPE_CHECKING:
    import torch

AVERAGE_WARM_UP = 20


class Optimizers:
    """Muon for the matrices inside the blocks, AdamW for everything else.

    Parameters
    ----------
    model : torch.nn.Module
    settings : Settings
    """

    def __init__(self, model: "torch.nn.Module", settings: Settings) -> None:
        import torch  # noqa: PLC0415 - seconds to import, and only for those who train

        from pretraining.muon import Muon  # noqa: PLC0415 - imports torch

        named = dict(model.named_parameters())
        self._names = {id(weights): name for name, weights in named.items()}
        matrices = [weights for name, weights in named.items() if _is_inner_matrix(name, weights)]
        others = [weights for name, weights in named.items() if not _is_inner_matrix(name, weights)]
        self._parts: list[tuple[torch.optim.Optimizer, float]] = [
            (Muon(matrices, settings.muon_rate), settings.muon_rate),
            (torch.optim.AdamW(others, lr=settings.adam_rate, betas=(0.9, 0.98), weight_decay=0.0), settings.adam_rate),
        ]

    def step(self, factor: float) -> None:
        """Update the weights with learning rates multiplied by `factor`, and forget the gradients."""
        for optimizer, rate in self._parts:
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, "torch.Tensor"]:
        """Return the state as flat names and tensors, for a checkpoint."""
        return {
            f"optimizer/{self._names[id(weights)]}/{key}": value
            for optimizer, weights in self._weights()
            for key, value in optimizer.state[weights].items()
        }

    def restore(self, tensors: Mapping[str, "torch.Tensor"]) -> None:
        """Take back what `tensors` gave."""
        for optimizer, weights in self._weights():
            prefix = f"optimizer/{self._names[id(weights)]}/"
            optimizer.state[weights] = {
                name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)
            }

    def _weights(self) -> Iterator[tuple["torch.optim.Optimizer", "torch.Tensor"]]:
        for optimizer, _ in self._parts:
            for group in optimizer.param_groups:
                for weights in group["params"]:
                    yield optimizer, weights


class Average:
    """Exponential moving average of the weights, shorter at the beginning (Polyak and Juditsky 1992, for averaging)."""

    def __init__(self, model: "torch.nn.Module", decay: float) -> None:
        self.model: Any = copy.deepcopy(model)
        self._decay = decay

    def update(self, model: "torch.nn.Module", step: int) -> None:
        """Move the average towards the weights of `model` after `step` steps."""
        import torch  # noqa: PLC0415 - seconds to import, and only for those who train

        decay = min(self._decay, step / (step + AVERAGE_WARM_UP))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)


def _is_inner_matrix(name: str, weights: "torch.Tensor") -> bool:
    return weights.ndim == 2 and ".block." in name and "relative_attention_bias" not in name
