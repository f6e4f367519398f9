"""Carries weights and AdamW's moments from one call of Chronos-2's `fit` to the next. Runs in the worker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from instance.fine_tuning.weights import Tensors, copy_of, moments_of, put_into, remember


@dataclass
class Carried:
    """What one call leaves for the next; empty before the first."""

    weights: Tensors = field(default_factory=dict)
    moments: Tensors = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)


def carry(carried: Carried, rate: Callable[[int], float], tell: Callable[[float, float], None]) -> Any:
    """Return a callback for the Trainer of transformers.

    Parameters
    ----------
    carried : Carried
        Put into the model and its optimizer when the call begins, and taken from them when it ends.
    rate : callable
        Learning rate of a step of this call, from 1.
    tell : callable
        Called with the loss and the gradient's norm of each step.
    """
    from transformers.trainer_callback import TrainerCallback  # noqa: PLC0415 - loads PyTorch

    class Carry(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            del args, state, control
            optimizer = _inner(given["optimizer"])
            if carried.weights:
                put_into(given["model"], carried.weights)
            remember(given["model"], optimizer, carried.moments)
            scaler = getattr(given["optimizer"], "scaler", None)
            if scaler is not None and carried.scaler:
                scaler.load_state_dict(carried.scaler)

        def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            del args, control
            for group in given["optimizer"].param_groups:
                group["lr"] = rate(state.global_step + 1)

        def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            del args, state, control
            logs = given["logs"]
            if "loss" in logs:
                tell(float(logs["loss"]), float(logs.get("grad_norm") or 0.0))

        def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            del args, state, control
            carried.weights = copy_of(given["model"])
            carried.moments = moments_of(given["model"], _inner(given["optimizer"]))
            scaler = getattr(given["optimizer"], "scaler", None)
            carried.scaler = dict(scaler.state_dict()) if scaler is not None else {}

    return Carry()


def _inner(optimizer: Any) -> Any:
    """Return the PyTorch optimizer inside the one that accelerate wraps around it."""
    return getattr(optimizer, "optimizer", optimizer)
