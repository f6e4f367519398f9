"""The forward pass of Chronos-Bolt, arranged for a CPU: the same numbers, sooner. Runs in the worker."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    Tensor = torch.Tensor


@dataclass(frozen=True)
class EncoderLayer:
    """Weights of one block of the encoder, those of query, key and value as one matrix."""

    attention_norm: "Tensor"
    query_key_value: "Tensor"
    attention_out: "Tensor"
    dense_norm: "Tensor"
    dense_in: "Tensor"
    dense_out: "Tensor"


class BoltOnCpu:
    """What `ChronosBoltModelForForecasting.forward` computes, to the last bits of float32.

    On a CPU that model spends much of its time between the matrix products. Here query, key and value are one product;
    the attention is PyTorch's fused one; the norm is one operation. The decoder has a single token: its attention to
    itself is the value, and instead of the keys and values of every patch it takes one query into the encoder's space
    and one weighted mean out of it. `make bench` shows what that gains over the model itself.

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
        import torch  # noqa: PLC0415 - loaded with the first model, not with the module

        self.model, self.heads, self.size = model, model.config.num_heads, model.config.d_kv
        self.epsilon = model.config.layer_norm_epsilon
        self.layers = []
        for block in model.encoder.block:
            attention, dense = block.layer[0].SelfAttention, block.layer[1].DenseReluDense
            joined = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight])
            self.layers.append(
                EncoderLayer(
                    block.layer[0].layer_norm.weight, joined.detach(), attention.o.weight,
                    block.layer[1].layer_norm.weight, dense.wi.weight, dense.wo.weight,
                )
            )  # fmt: skip

    @staticmethod
    def supports(model: Any) -> bool:
        """Whether `model` is of the published form (REG token, ReLU), in float32 on the CPU."""
        import torch  # noqa: PLC0415 - see __init__

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
        import torch  # noqa: PLC0415 - see __init__

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
        from torch.nn import functional  # noqa: PLC0415 - see __init__

        n, length, _ = tokens.shape
        bias = self.model.encoder.block[0].layer[0].SelfAttention.compute_bias(length, length)
        bias = bias.expand(n, -1, -1, -1)  # (n, heads, length, length)
        if visible is not None:
            bias = bias.masked_fill(~visible[:, None, None, :], float("-inf"))
        for layer in self.layers:
            joined = functional.linear(self._norm(tokens, layer.attention_norm), layer.query_key_value)
            query, key, value = joined.view(n, length, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
            # T5 does not scale the scores.
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
            tokens = tokens + functional.linear(mixed.transpose(1, 2).reshape(n, length, -1), layer.attention_out)
            hidden = functional.linear(self._norm(tokens, layer.dense_norm), layer.dense_in).relu_()
            tokens = tokens + functional.linear(hidden, layer.dense_out)
        return self._norm(tokens, self.model.encoder.final_layer_norm.weight)

    def _decode(self, encoded: "Tensor", visible: "Tensor | None") -> "Tensor":
        """Return the decoder's only token, shape (n, d_model)."""
        decoder = self.model.decoder
        token = self.model.shared.weight[self.model.config.decoder_start_token_id].expand(len(encoded), -1)
        for block in decoder.block:
            to_itself, to_encoder, dense = block.layer
            own = self._norm(token, to_itself.layer_norm.weight)
            token = token + to_itself.SelfAttention.o(to_itself.SelfAttention.v(own))
            asked = self._norm(token, to_encoder.layer_norm.weight)
            token = token + self._look_up(to_encoder.EncDecAttention, asked, encoded, visible)
            hidden = dense.DenseReluDense.wi(self._norm(token, dense.layer_norm.weight)).relu_()
            token = token + dense.DenseReluDense.wo(hidden)
        return self._norm(token, decoder.final_layer_norm.weight)

    def _look_up(self, attention: Any, asked: "Tensor", encoded: "Tensor", visible: "Tensor | None") -> "Tensor":
        """Attend from one token (n, d_model) to all of `encoded` (n, length, d_model); returns (n, d_model).

        q (K e) is (q K) e, and the sum of p (V e) is V times the sum of p e: neither needs K e or V e of each patch.
        """
        import torch  # noqa: PLC0415 - see __init__

        key = attention.k.weight.view(self.heads, self.size, -1)  # (heads, size, d_model)
        value = attention.v.weight.view(self.heads, self.size, -1)
        query = torch.einsum("nhk,hkd->nhd", attention.q(asked).view(-1, self.heads, self.size), key)
        scores = torch.bmm(query, encoded.transpose(1, 2))  # (n, heads, length)
        if visible is not None:
            scores = scores.masked_fill(~visible[:, None, :], float("-inf"))
        mean = torch.bmm(scores.softmax(dim=-1), encoded)  # (n, heads, d_model)
        return attention.o(torch.einsum("nhd,hkd->nhk", mean, value).reshape(len(asked), -1))  # type: ignore[no-any-return]

    def _norm(self, tokens: "Tensor", weight: "Tensor") -> "Tensor":
        from torch.nn import functional  # noqa: PLC0415 - see __init__

        return functional.rms_norm(tokens, weight.shape, weight, self.epsilon)
