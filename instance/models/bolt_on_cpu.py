"""The forward pass of Chronos-Bolt, arranged for a CPU: the same numbers, sooner. Runs in the worker."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    Tensor = torch.Tensor


@dataclass(frozen=True)
class EncoderLayer:
    """Matrices of one block of the encoder, made for `x @ matrix`; the weights of its norms are multiplied into them.

    Parameters
    ----------
    query_key_value : float32 tensor, shape (d_model, 3 * heads * size)
    attention_out, dense_in, dense_out : float32 tensors
    """

    query_key_value: "Tensor"
    attention_out: "Tensor"
    dense_in: "Tensor"
    dense_out: "Tensor"


@dataclass(frozen=True)
class DecoderLayer:
    """Matrices of one block of the decoder, which has a single token, so that its attention to itself is its value.

    q (K e) is (q K) e, and the sum of p (V e) is V times the sum of p e: query and key, and value and output, are one
    matrix each, and no key or value of a patch is needed.

    Parameters
    ----------
    to_itself : float32 tensor, shape (d_model, d_model)
    query_key : float32 tensor, shape (d_model, heads * d_model)
    value_out : float32 tensor, shape (heads * d_model, d_model)
    dense_in, dense_out : float32 tensors
    """

    to_itself: "Tensor"
    query_key: "Tensor"
    value_out: "Tensor"
    dense_in: "Tensor"
    dense_out: "Tensor"


class BoltOnCpu:
    """What `ChronosBoltModelForForecasting.forward` computes, to the last bits of float32.

    On a CPU that model spends much of its time between the matrix products. Here query, key and value are one product,
    and the attention is PyTorch's fused one; the norms' weights are part of the matrices; sums are added by the
    products themselves; what is the same in every call is computed once. `make bench` shows what that gains.

    Parameters
    ----------
    model : ChronosBoltModelForForecasting
        In float32 on the CPU; its weights must not change afterwards. See `supports`.

    Notes
    -----
    Ansari et al. 2024, "Chronos: Learning the Language of Time Series"; the package chronos-forecasting 2.3.2 for
    Bolt; Raffel et al. 2020, "Exploring the Limits of Transfer Learning", for T5's relative positions.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.heads, self.size = model, model.config.num_heads, model.config.d_kv
        self.epsilon = model.config.layer_norm_epsilon
        self.encoder = [self._encoder_layer(block) for block in model.encoder.block]
        self.decoder = [self._decoder_layer(block) for block in model.decoder.block]
        self.biases: dict[int, Tensor] = {}

    def _encoder_layer(self, block: Any) -> EncoderLayer:
        import torch  # noqa: PLC0415 - loaded with the first model, not with the module

        attention, dense = block.layer[0].SelfAttention, block.layer[1].DenseReluDense
        joined = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight])
        return EncoderLayer(
            _after_norm(block.layer[0], joined), _turned(attention.o.weight),
            _after_norm(block.layer[1], dense.wi.weight), _turned(dense.wo.weight),
        )  # fmt: skip

    def _decoder_layer(self, block: Any) -> DecoderLayer:
        import torch  # noqa: PLC0415 - as above

        itself, encoder, dense = block.layer
        query, key, value = (
            getattr(encoder.EncDecAttention, name).weight.double().view(self.heads, self.size, -1) for name in "qkv"
        )
        out = encoder.EncDecAttention.o.weight.double().view(-1, self.heads, self.size)
        query_key = torch.einsum("hkd,hke->hed", query, key).reshape(-1, query.shape[2])
        value_out = torch.einsum("ohk,hkd->ohd", out, value).reshape(len(out), -1)
        own = itself.SelfAttention.o.weight.double() @ itself.SelfAttention.v.weight.double()
        return DecoderLayer(
            _after_norm(itself, own), _after_norm(encoder, query_key), _turned(value_out),
            _after_norm(dense, dense.DenseReluDense.wi.weight), _turned(dense.DenseReluDense.wo.weight),
        )  # fmt: skip

    @staticmethod
    def supports(model: Any) -> bool:
        """Whether `model` is of the published form (REG token, ReLU), in float32 on the CPU."""
        import torch  # noqa: PLC0415 - as above

        config = model.config
        plain = config.feed_forward_proj == "relu" and model.chronos_config.use_reg_token
        return bool(plain and model.device.type == "cpu" and model.dtype == torch.float32)

    def __call__(self, context: "Tensor") -> "Tensor":
        """Return quantiles of the next steps.

        Parameters
        ----------
        context : float32 tensor, shape (n, width)
            NaN where a value is missing; no wider than the model's context.

        Returns
        -------
        float32 tensor, shape (n, n_levels, prediction_length)
        """
        tokens, visible, loc_scale = self._tokens(context)
        encoded = self._encode(tokens, visible)
        decoded = self._decode(encoded, visible)
        quantiles = self.model.output_patch_embedding(decoded)
        unscaled = self.model.instance_norm.inverse(quantiles, loc_scale)
        return unscaled.view(len(context), self.model.num_quantiles, -1)  # type: ignore[no-any-return]

    def _tokens(self, context: "Tensor") -> tuple["Tensor", "Tensor | None", Any]:
        """Return patches and REG token (n, n_tokens, d_model), which of them hold a value (None for all), the scale."""
        import torch  # noqa: PLC0415 - as above

        model = self.model
        scaled, loc_scale = model.instance_norm(context)
        patches = model.patch(scaled)  # (n, n_patches, patch_size)
        known = patches.isnan().logical_not()
        values = torch.cat([patches.nan_to_num(nan=0.0), known.to(patches.dtype)], dim=-1)
        reg = model.shared.weight[model.config.reg_token_id].expand(len(context), 1, -1)
        tokens = torch.cat([model.input_patch_embedding(values), reg], dim=1)
        some = known.any(dim=-1)
        if bool(some.all()):
            return tokens, None, loc_scale
        return tokens, torch.cat([some, some.new_ones(len(context), 1)], dim=1), loc_scale

    def _encode(self, tokens: "Tensor", visible: "Tensor | None") -> "Tensor":
        """Return what the encoder makes of `tokens` (n, length, d_model), in their place."""
        from torch.nn import functional  # noqa: PLC0415 - as above

        n, length, _ = tokens.shape
        bias = self._bias(length).expand(n, -1, -1, -1)  # (n, heads, length, length)
        if visible is not None:
            bias = bias.masked_fill(~visible[:, None, None, :], float("-inf"))
        rows = tokens.view(n * length, -1)
        for layer in self.encoder:
            joined = self._unit(rows).mm(layer.query_key_value).view(n, length, 3, self.heads, self.size)
            query, key, value = joined.permute(2, 0, 3, 1, 4)
            # T5 does not scale the scores.
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
            rows.addmm_(mixed.transpose(1, 2).reshape(n * length, -1), layer.attention_out)
            rows.addmm_(self._unit(rows).mm(layer.dense_in).relu_(), layer.dense_out)
        return (self._unit(rows) * self.model.encoder.final_layer_norm.weight).view(n, length, -1)  # type: ignore[no-any-return]

    def _bias(self, length: int) -> "Tensor":
        """Return T5's bias of relative positions, shape (1, heads, length, length)."""
        if length not in self.biases:
            self.biases[length] = self.model.encoder.block[0].layer[0].SelfAttention.compute_bias(length, length)
        return self.biases[length]

    def _decode(self, encoded: "Tensor", visible: "Tensor | None") -> "Tensor":
        """Return the decoder's only token, shape (n, d_model)."""
        n, _, width = encoded.shape
        token = self.model.shared.weight[self.model.config.decoder_start_token_id].repeat(n, 1)
        turned = encoded.transpose(1, 2)
        for layer in self.decoder:
            token.addmm_(self._unit(token), layer.to_itself)
            query = self._unit(token).mm(layer.query_key).view(n, self.heads, width)
            scores = query.bmm(turned)  # (n, heads, length)
            if visible is not None:
                scores = scores.masked_fill(~visible[:, None, :], float("-inf"))
            mean = scores.softmax(dim=-1).bmm(encoded)  # (n, heads, d_model)
            token.addmm_(mean.view(n, -1), layer.value_out)
            token.addmm_(self._unit(token).mm(layer.dense_in).relu_(), layer.dense_out)
        return self._unit(token) * self.model.decoder.final_layer_norm.weight  # type: ignore[no-any-return]

    def _unit(self, rows: "Tensor") -> "Tensor":
        """Divide each row by its root mean square: T5's norm without its weight."""
        import torch  # noqa: PLC0415 - as above

        mean_square: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).square_().div_(rows.shape[-1])
        return rows * mean_square.add_(self.epsilon).rsqrt_()


def _after_norm(layer: Any, matrix: "Tensor") -> "Tensor":
    """Return `matrix` (out, in) for rows that have not been multiplied by the weight of the norm before it."""
    return _turned(matrix.double() * layer.layer_norm.weight.double())


def _turned(matrix: "Tensor") -> "Tensor":
    return matrix.detach().float().t().contiguous()
