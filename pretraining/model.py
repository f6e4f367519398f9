"""Build a Chronos-Bolt model with random weights and save it for Chronos. Runs on a developer's computer."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretraining.settings import QUANTILE_LEVELS, Architecture, SettingsChangedError

if TYPE_CHECKING:
    import torch

WEIGHTS_MODE = 0o644
START_TOKEN, REG_TOKEN = 0, 1
FIRST_BIAS = 4.0  # about half of the attention among 64 patches


def build(architecture: Architecture, seed: int) -> Any:
    """Return a ChronosBoltModelForForecasting with random weights, the same ones for the same seed.

    The matrices that end a residual branch begin at zero, so that the model begins as the sum of its inputs and every
    branch earns its part (Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 5.1, for the idea). T5's own
    initialisation leaves a model of this size on a plateau for as long as it was watched.

    Parameters
    ----------
    architecture : Architecture
    seed : int
    """
    import torch  # noqa: PLC0415 - seconds to import, and only for those who train
    from chronos.chronos_bolt import ChronosBoltModelForForecasting  # noqa: PLC0415 - as above

    torch.manual_seed(seed)
    model: Any = ChronosBoltModelForForecasting(_config(architecture))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            _initialise(name, weights)
        _look_at_neighbours(model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight)
        _look_at_the_end(model)
    return model


def take(model: Any, folder: Path) -> None:
    """Give `model` the weights in `folder`.

    Raises
    ------
    SettingsChangedError
        They are of another architecture.
    """
    import torch  # noqa: PLC0415 - see build
    from safetensors.torch import load_file  # noqa: PLC0415 - it imports torch

    found = load_file(folder / "model.safetensors")
    wanted = dict(model.named_parameters())
    other = sorted(
        name for name in wanted.keys() | found.keys()
        if name not in wanted or name not in found or wanted[name].shape != found[name].shape
    )  # fmt: skip
    if other:
        raise SettingsChangedError(
            f"{folder}: expected weights of the architecture in the settings, found others for {', '.join(other[:3])}. "
            "Use weights that this program wrote with the same settings."
        )
    with torch.no_grad():
        for name, weights in wanted.items():
            weights.copy_(found[name])


def save(model: Any, folder: Path) -> None:
    """Write config.json and model.safetensors, readable by everybody, to `folder`."""
    model.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(WEIGHTS_MODE)


def _config(sizes: Architecture) -> Any:
    from transformers import T5Config  # noqa: PLC0415 - seconds to import, and only for those who train

    patches = -(-sizes.context_length // sizes.patch_size)
    return T5Config(  # type: ignore[call-arg]  # it keeps what it does not know, as Chronos needs
        architectures=["ChronosBoltModelForForecasting"],
        chronos_pipeline_class="ChronosBoltPipeline",
        chronos_config={
            "context_length": sizes.context_length,
            "prediction_length": sizes.prediction_length,
            "input_patch_size": sizes.patch_size,
            "input_patch_stride": sizes.patch_size,
            "quantiles": list(QUANTILE_LEVELS),
            "use_reg_token": True,
        },
        d_model=sizes.d_model,
        d_kv=sizes.d_kv,
        d_ff=sizes.d_ff,
        num_heads=sizes.num_heads,
        num_layers=sizes.num_layers,
        num_decoder_layers=sizes.num_decoder_layers,
        relative_attention_num_buckets=2 * patches,
        relative_attention_max_distance=patches,
        vocab_size=2,
        pad_token_id=START_TOKEN,
        eos_token_id=REG_TOKEN,
        decoder_start_token_id=START_TOKEN,
        reg_token_id=REG_TOKEN,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        is_encoder_decoder=True,
        use_cache=False,
    )


def _initialise(name: str, weights: "torch.Tensor") -> None:
    import torch  # noqa: PLC0415 - see build

    if weights.ndim != 2:
        return  # norms keep 1 and biases 0
    ends_a_branch = name.endswith((".o.weight", ".wo.weight", "output_layer.weight"))
    if ends_a_branch or "relative_attention_bias" in name:
        torch.nn.init.zeros_(weights)
    elif "shared" in name:
        torch.nn.init.normal_(weights)
    elif name.endswith(".q.weight"):
        torch.nn.init.normal_(weights, std=float(weights.shape[1] * 16) ** -0.5)
    else:
        torch.nn.init.normal_(weights, std=float(weights.shape[1]) ** -0.5)


def _look_at_neighbours(bias: "torch.Tensor") -> None:
    """Let each head of the encoder begin by looking at one of the nearest patches, before or after its own.

    Heads that begin by looking everywhere alike see the mean of all phases of a season, which is nothing, so that no
    gradient says where to look.

    Parameters
    ----------
    bias : float tensor, shape (n_buckets, n_heads)
        T5's relative position bias: the first half of the buckets is for patches before, the second for those after.
    """
    buckets, heads = bias.shape
    for head in range(heads):
        distance, after = head // 2 + 1, head % 2
        bias[after * buckets // 2 + distance, head] = FIRST_BIAS


def _look_at_the_end(model: Any) -> None:
    """Let the decoder begin by looking at the REG token, which stands behind the last patch and sees the last ones."""
    model.shared.weight[START_TOKEN] = model.shared.weight[REG_TOKEN]
    for block in model.decoder.block:
        attention = block.layer[1].EncDecAttention
        attention.q.weight.copy_(attention.k.weight * attention.key_value_proj_dim**-0.5)
