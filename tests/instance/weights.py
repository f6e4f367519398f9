"""Tiny random weights of the other generations of Chronos, context 64, 16 steps ahead."""

from pathlib import Path
from typing import Any

import torch
from chronos.chronos2 import Chronos2Model
from chronos.chronos2.config import Chronos2CoreConfig
from transformers import T5Config, T5ForConditionalGeneration

SIZE: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
TOKENS = {"n_tokens": 64, "n_special_tokens": 2, "pad_token_id": 0, "eos_token_id": 1}


def make_chronos_2(folder: Path) -> None:
    """Write a Chronos-2 model."""
    torch.manual_seed(0)
    chronos_config = {
        "context_length": 64,
        "input_patch_size": 8,
        "input_patch_stride": 8,
        "output_patch_size": 8,
        "max_output_patches": 2,
        "quantiles": [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99],
        "use_reg_token": True,
        "use_arcsinh": True,
    }
    config = Chronos2CoreConfig(**SIZE, chronos_config=chronos_config, architectures=["Chronos2Model"])
    config.chronos_pipeline_class = "Chronos2Pipeline"
    Chronos2Model(config).save_pretrained(folder)


def make_chronos_t5(folder: Path) -> None:
    """Write a model of the first generation, which draws samples."""
    torch.manual_seed(0)
    chronos_config = {
        **TOKENS,
        "tokenizer_class": "MeanScaleUniformBins",
        "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
        "use_eos_token": True,
        "model_type": "seq2seq",
        "context_length": 64,
        "prediction_length": 16,
        "num_samples": 20,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
    }
    config = T5Config(
        **SIZE,
        vocab_size=64,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        architectures=["T5ForConditionalGeneration"],
        chronos_config=chronos_config,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
