"""Weights and AdamW's moments as named tensors, to and from a model. Runs in the worker."""

from typing import Any

Tensors = dict[str, Any]

MODEL, OPTIMIZER = "model/", "optimizer/"


def trainable(model: Any) -> dict[str, Any]:
    """Return the parameters that learn, by name; tied ones once."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def copy_of(model: Any) -> Tensors:
    """Return a copy of the weights that learn, in the memory of the machine."""
    return {name: weight.detach().to("cpu", copy=True).contiguous() for name, weight in trainable(model).items()}


def put_into(model: Any, weights: Tensors) -> None:
    """Overwrite the weights that learn; raises KeyError when one is missing."""
    import torch  # noqa: PLC0415 - loaded with the first model, not with the module

    with torch.no_grad():
        for name, weight in trainable(model).items():
            weight.copy_(weights[name])


def moments_of(model: Any, optimizer: Any) -> Tensors:
    """Return a copy of what the optimizer remembers of each weight, as `<weight>/<name>`."""
    held: Tensors = {}
    for name, weight in trainable(model).items():
        for kind, value in optimizer.state.get(weight, {}).items():
            held[f"{name}/{kind}"] = value.detach().to("cpu", copy=True).contiguous()
    return held


def remember(model: Any, optimizer: Any, moments: Tensors) -> None:
    """Give an optimizer the moments that `moments_of` took from another."""
    by_weight: dict[str, Tensors] = {}
    for key, value in moments.items():
        name, kind = key.rsplit("/", 1)
        by_weight.setdefault(name, {})[kind] = value
    for name, weight in trainable(model).items():
        if name in by_weight:
            # The count of steps stays where the optimizer keeps it: fused AdamW with the weight, others on the CPU.
            fused = bool(optimizer.param_groups[0].get("fused"))
            optimizer.state[weight] = {
                kind: value.to(weight.device if fused or kind != "step" else "cpu", copy=True)
                for kind, value in by_weight[name].items()
            }


def joined(prefix: str, tensors: Tensors) -> Tensors:
    """Return the tensors with `prefix` before their names."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def part(prefix: str, tensors: Tensors) -> Tensors:
    """Return those whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
