"""The loss: quantile errors in units of each series' own changes. Runs on a developer's computer."""

from typing import TYPE_CHECKING

from pretraining.settings import QUANTILE_LEVELS

if TYPE_CHECKING:
    import torch

NEAR_STEPS = 8.0
LARGE_LOSS = 5.0


def pinball(quantiles: "torch.Tensor", target: "torch.Tensor", scale: "torch.Tensor") -> "torch.Tensor":
    """Return the mean quantile loss of each series.

    Twice the pinball loss averaged over levels (Koenker and Bassett 1978), which is the absolute error where there is
    one level of 0.5, divided by a scale of the series; near steps count more than far ones.

    Parameters
    ----------
    quantiles : float tensor, shape (n, n_levels, horizon)
    target : float tensor, shape (n, horizon)
    scale : float tensor, shape (n, 1)

    Returns
    -------
    float tensor, shape (n,)
    """
    import torch  # noqa: PLC0415 - seconds to import, and only for those who train

    levels = torch.tensor(QUANTILE_LEVELS).view(1, -1, 1)
    weights = 1 / (1 + torch.arange(target.shape[1]) / NEAR_STEPS)  # (horizon,)
    error = (target - quantiles.transpose(0, 1)).transpose(0, 1) / scale.unsqueeze(1)  # (n, n_levels, horizon)
    loss = 2 * torch.maximum(levels * error, (levels - 1) * error).mean(dim=1)
    return (loss * weights).sum(dim=1) / weights.sum()


def damped(losses: "torch.Tensor") -> "torch.Tensor":
    """Return the mean of the losses, where one far above `LARGE_LOSS` counts hardly more than one at it.

    A few series that nobody could forecast would otherwise steer every step.
    """
    return (losses / (1 + losses.detach() / LARGE_LOSS)).mean()
