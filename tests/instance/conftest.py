"""Fixtures of the instance's tests: a bucket in moto and a tiny Chronos model."""

from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from chronos.chronos_bolt import ChronosBoltModelForForecasting
from moto import mock_aws
from transformers import T5Config

from tests.instance.samples import BUCKET, QUANTILES


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Chronos-Bolt of a few thousand random weights, context 64, 16 steps ahead."""
    torch.manual_seed(0)
    config = T5Config(
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_decoder_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        is_encoder_decoder=True,
        use_cache=False,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        vocab_size=2,
        feed_forward_proj="relu",
        chronos_pipeline_class="ChronosBoltPipeline",
        architectures=["ChronosBoltModelForForecasting"],
        chronos_config={
            "context_length": 64,
            "prediction_length": 16,
            "input_patch_size": 8,
            "input_patch_stride": 8,
            "quantiles": QUANTILES,
            "use_reg_token": True,
        },
    )
    folder = tmp_path_factory.mktemp("tiny") / "tiny-bolt"
    ChronosBoltModelForForecasting(config).save_pretrained(folder)
    return folder


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An S3 client with an empty bucket, in moto."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def one_thread() -> None:
    torch.set_num_threads(1)
