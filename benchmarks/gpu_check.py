"""What a GPU makes of the Chronos code, for the first person who has one: `make gpu-check`. Exits 2 without a GPU."""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fine_tuning import WEIGHTS, mapped_series
from instance.fine_tuning.bolt import BoltTrainer
from instance.fine_tuning.settings import Progress, TrainingSettings
from instance.hardware import Hardware, Placement, decide, probe, training_precision
from instance.models.chronos_folder import load_pipeline
from instance.models.chronos_zero_shot import ChronosZeroShot
from instance.models.interface import Panel

NO_GPU = 2
CONTEXT = 512
LEVELS = [0.1, 0.5, 0.9]
# Dimensions of amazon/chronos-bolt-tiny and -small; the weights are random, which costs the same time.
SIZES: dict[str, dict[str, Any]] = {
    "bolt-tiny": {"d_model": 256, "d_ff": 1024, "num_layers": 4, "num_decoder_layers": 4, "num_heads": 4},
    "bolt-small": {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_decoder_layers": 6, "num_heads": 8},
}


def random_bolt(folder: Path, size: str) -> Path:
    """Write a Chronos-Bolt of one of `SIZES` with random weights, context 2048 and 64 steps ahead."""
    from chronos.chronos_bolt import ChronosBoltModelForForecasting  # noqa: PLC0415 - loads PyTorch
    from transformers import T5Config  # noqa: PLC0415

    chronos_config = {
        "context_length": 2048, "prediction_length": 64, "input_patch_size": 16, "input_patch_stride": 16,
        "quantiles": [level / 10 for level in range(1, 10)], "use_reg_token": True,
    }  # fmt: skip
    options: dict[str, Any] = {
        **SIZES[size], "d_kv": 64, "is_encoder_decoder": True, "use_cache": False, "pad_token_id": 0,
        "eos_token_id": 1, "decoder_start_token_id": 0, "vocab_size": 2, "initializer_factor": 0.05,
        "chronos_config": chronos_config, "chronos_pipeline_class": "ChronosBoltPipeline",
        "architectures": ["ChronosBoltModelForForecasting"],
    }  # fmt: skip
    config = T5Config(**options)
    ChronosBoltModelForForecasting(config).save_pretrained(folder / size)
    return folder / size


def throughput(folder: Path, placement: Placement, horizon: int, rows: int, series: int = 4096) -> dict[str, Any]:
    """Return series a second and the peak memory of the device in MiB, after a warm-up."""
    import torch  # noqa: PLC0415

    model = ChronosZeroShot(folder, placement)
    model.rows = rows
    panel = walks(series)
    model.forecast([walks(rows)], horizon, LEVELS, lambda _: None)
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    model.forecast([panel], horizon, LEVELS, lambda _: None)
    seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() / 2**20
    used = model.rows
    model.close()
    return {
        "weights": folder.name, "dtype": placement.dtype, "horizon": horizon, "rows": used,
        "series_per_second": round(series / seconds), "peak_mib": round(peak),
    }  # fmt: skip


def difference(folder: Path, placement: Placement) -> dict[str, Any]:
    """Return how far the GPU's forecasts are from the CPU's, relative to each series' spread."""
    panel = walks(256)
    cpu, gpu = (
        ChronosZeroShot(folder, where).forecast([panel], 64, LEVELS, lambda _: None)[0]
        for where in (Placement("cpu", "float32"), placement)
    )
    spread = np.array([values.std() for values in panel.values])[:, None, None]
    error = np.abs(cpu.quantiles - gpu.quantiles) / spread
    return {
        "weights": folder.name, "dtype": placement.dtype, "median": float(np.median(error)),
        "largest": float(error.max()), "not_finite": len(gpu.failures),
    }  # fmt: skip


def short_training(folder: Path, placement: Placement, scratch: Path, steps: int = 60) -> dict[str, Any]:
    """Return losses, skipped steps and the scale after a short fine-tuning in the number format of the device."""
    settings = TrainingSettings(horizon=64, n_windows=1, steps=steps)
    pipeline = load_pipeline(folder, Placement(placement.device, "float32"))
    trainer = BoltTrainer(pipeline, mapped_series(scratch), settings, 3e-4, placement, training_precision(placement))
    progress, before, began = Progress(), trainer.validation_loss(), time.perf_counter()
    trainer.run(progress, steps, lambda _: None)
    seconds = time.perf_counter() - began
    return {
        "weights": folder.name, "precision": vars(training_precision(placement)), "before": before,
        "after": trainer.validation_loss(), "skipped": progress.losses.count(None),
        "scale": trainer.scaler_state().get("scale"), "steps_per_second": round(steps / seconds, 2),
    }  # fmt: skip


def walks(series: int) -> Panel:
    """Return random walks of the length of a context."""
    rng = np.random.default_rng(0)
    return Panel([str(i) for i in range(series)], list(np.cumsum(rng.normal(size=(series, CONTEXT)), axis=1)), 12)


def tell(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows of JSON below a title."""
    print(f"\n{title}")
    for row in rows:
        print("  " + json.dumps(row))


def check(hardware: Hardware) -> None:
    """Measure everything, and print it."""
    narrow = decide(hardware)
    wide = Placement("cuda", "float32")
    with tempfile.TemporaryDirectory() as name:
        folders = [WEIGHTS, *(random_bolt(Path(name), size) for size in SIZES)]
        tell("Throughput", [throughput(folder, where, 64, 512) for folder in folders for where in (narrow, wide)])
        tell("Memory by rows", [throughput(folders[-1], narrow, 64, rows) for rows in (128, 512, 2048)])
        tell("Memory by horizon", [throughput(folders[-1], narrow, steps, 512, 512) for steps in (64, 128, 256)])
        tell("GPU against CPU", [difference(folder, where) for folder in folders[:2] for where in (narrow, wide)])
        tell("Fine-tuning", [short_training(folder, narrow, Path(name)) for folder in folders[:2]])


def main() -> int:
    """Say what the device is and what was decided for it, then measure; return the process's exit code."""
    hardware = probe()
    placement = decide(hardware)
    print(f"device: {hardware.name}, compute capability {hardware.capability}")
    print(f"decided: {placement}, {training_precision(placement)}")
    if not hardware.cuda:
        print("PyTorch sees no GPU here, so there is nothing to check. Run this on a machine with one.")
        return NO_GPU
    check(hardware)
    return 0


if __name__ == "__main__":
    sys.exit(main())
