"""Chronos-2 through its own `fit`, in segments that another machine can go on from. Runs in the worker."""

import math
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from contracts.reasons import OutOfMemory, TrainingDiverged
from instance.fine_tuning.bolt import LONGEST_GRADIENT, MOST_SKIPPED, WEIGHT_DECAY
from instance.fine_tuning.carry import Carried, carry
from instance.fine_tuning.samples import (
    FEWEST_KNOWN,
    VALIDATION_BATCH,
    FlatSeries,
    Split,
    prepared,
    split,
    validation_series,
)
from instance.fine_tuning.schedule import learning_rate
from instance.fine_tuning.settings import Progress, StepReport, TrainingSettings
from instance.fine_tuning.weights import Tensors, copy_of, put_into
from instance.hardware import Placement, Precision, free_memory, is_out_of_memory

# Attention and the last layer, as `fit` chooses by itself; named here because the merge needs the same.
LORA: dict[str, Any] = {
    "r": 8,
    "lora_alpha": 16,
    "target_modules": [
        *(f"self_attention.{name}" for name in "qvko"),
        "output_patch_embedding.output_layer",
    ],
}


class Chronos2Trainer:
    """`Chronos2Pipeline.fit` (chronos-forecasting 2.3.2), full or with low-rank adapters (Hu et al. 2022).

    `fit` can neither be resumed nor stopped early, and its checkpoints are pickles. So each call of it does the steps
    up to the next validation only; weights, AdamW's moments and the gradient scale are carried from call to call, and
    every call is seeded by the step it begins with. A segment is thus a function of what a checkpoint holds.

    Parameters
    ----------
    pipeline
        A `Chronos2Pipeline` in float32.
    data, settings, peak, placement, precision
        See `BoltTrainer`.

    Raises
    ------
    DatasetInvalid
        No series is long enough.
    """

    def __init__(
        self,
        pipeline: Any,
        data: FlatSeries,
        settings: TrainingSettings,
        peak: float,
        placement: Placement,
        precision: Precision,
    ) -> None:
        self.pipeline, self.data = pipeline, data
        self.settings, self.peak = settings, peak
        self.placement, self.precision = placement, precision
        self.target_length = min(settings.horizon, int(pipeline.model_prediction_length))
        self.split = split(data.starts, settings.horizon, settings.n_windows, self.target_length)
        self.carried = Carried()
        self.model = pipeline.model
        self.skipped = 0

    def run(self, progress: Progress, last: int, on_step: Callable[[StepReport], None]) -> None:
        """Do the steps after `progress.step` up to `last` in one call of `fit`; see `BoltTrainer.run`."""
        while True:
            losses: list[float | None] = []
            # Taken anew by each try, so that one that ran out of memory half-way leaves no trace.
            carried = replace(self.carried)
            try:
                self.model = self._fit(progress, last, carried, losses, on_step)
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._split_further(progress, error)
        self.carried = carried
        progress.step = last
        progress.losses.extend(losses)

    def validation_loss(self) -> float:
        """Return the loss on the steps before the first cutoff; see `BoltTrainer.validation_loss`."""
        import torch  # noqa: PLC0415 - loaded with the first model, not with the module
        from chronos.chronos2.dataset import Chronos2Dataset, DatasetMode  # noqa: PLC0415

        series = [self._prepared(int(i), self.target_length) for i in validation_series(len(self.split.starts))]
        batches = Chronos2Dataset(
            series,
            context_length=self.pipeline.model_context_length,
            prediction_length=self.target_length,
            batch_size=VALIDATION_BATCH,
            output_patch_size=self.pipeline.model_output_patch_size,
            mode=DatasetMode.VALIDATION,
        )
        self.model.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for batch in batches:
                there = {k: v.to(self.placement.device) if torch.is_tensor(v) else v for k, v in batch.items()}
                total += float(self.model(**there).loss) * len(batch["context"])
                count += len(batch["context"])
        return total / count

    def weights(self) -> Tensors:
        """Return a copy of the weights that learn: the adapters, or all."""
        return dict(self.carried.weights) if self.carried.weights else self._untouched()

    def put_weights(self, weights: Tensors) -> None:
        """Overwrite the weights that learn, for the next segment and for `tuned`."""
        self.carried = replace(self.carried, weights=dict(weights))

    def moments(self) -> Tensors:
        """Return a copy of the optimizer's moments."""
        return dict(self.carried.moments)

    def put_moments(self, moments: Tensors) -> None:
        """Overwrite the optimizer's moments, for the next segment."""
        self.carried = replace(self.carried, moments=dict(moments))

    def scaler_state(self) -> dict[str, Any]:
        """Return the scale of the loss, as JSON values."""
        return dict(self.carried.scaler)

    def put_scaler_state(self, state: dict[str, Any]) -> None:
        """Overwrite the scale of the loss, for the next segment."""
        self.carried = replace(self.carried, scaler=dict(state))

    def tuned(self) -> Any:
        """Return the whole model, adapters merged into it."""
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - loads PyTorch

        if not self.carried.weights:
            return self.pipeline.model
        lora = self.settings.mode == "lora"
        model = get_peft_model(self.pipeline.model, LoraConfig(**LORA)) if lora else self.pipeline.model
        put_into(model, self.carried.weights)
        return model.merge_and_unload() if lora else model

    def _untouched(self) -> Tensors:
        # Adapters begin as zero, so having none is where they begin.
        return {} if self.settings.mode == "lora" else copy_of(self.pipeline.model)

    def _fit(
        self,
        progress: Progress,
        last: int,
        carried: Carried,
        losses: list[float | None],
        on_step: Callable[[StepReport], None],
    ) -> Any:
        import torch  # noqa: PLC0415

        first, settings = progress.step, self.settings
        seed = int(np.random.SeedSequence([settings.seed, first]).generate_state(1)[0])
        torch.manual_seed(seed)  # for the adapters, which `fit` makes before it seeds
        began = [time.perf_counter()]

        def tell(loss: float, norm: float) -> None:
            finite = self._judge(first + len(losses) + 1, loss, norm)
            losses.append(loss if finite else None)
            seconds, began[0] = time.perf_counter() - began[0], time.perf_counter()
            on_step(StepReport(first + len(losses), settings.steps, losses[-1], settings.batch_size / seconds))

        def rate(step: int) -> float:
            return learning_rate(first + step, settings.steps, self.peak)

        folder = tempfile.mkdtemp(prefix="chronos-2-fit-")
        try:
            return self.pipeline.fit(
                _Lazy(self, self.split),
                prediction_length=self.target_length,
                finetune_mode=settings.mode,
                lora_config=LORA if settings.mode == "lora" else None,
                context_length=self.pipeline.model_context_length,
                learning_rate=self.peak,
                num_steps=last - first,
                batch_size=max(1, settings.batch_size // progress.accumulation) * self._variates,
                output_dir=folder,
                min_past=FEWEST_KNOWN,
                callbacks=[carry(carried, rate, tell)],
                remove_printer_callback=True,
                gradient_accumulation_steps=progress.accumulation,
                lr_scheduler_type="constant",
                weight_decay=WEIGHT_DECAY,
                max_grad_norm=LONGEST_GRADIENT,
                logging_steps=1,
                logging_nan_inf_filter=False,
                disable_tqdm=True,
                seed=seed,
                fp16=self.precision.autocast == "float16",
                bf16=self.precision.autocast == "bfloat16",
            ).model
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _split_further(self, progress: Progress, error: Exception) -> None:
        if progress.accumulation >= self.settings.batch_size:
            raise OutOfMemory(
                f"fine-tuning: expected room for one series on the {self.placement.device}, found: "
                f"{str(error)[:200]}. Use smaller weights or fine_tuning_mode lora."
            ) from error
        progress.accumulation = min(2 * progress.accumulation, self.settings.batch_size)
        free_memory(self.placement.device)

    def _judge(self, step: int, loss: float, norm: float) -> bool:
        finite = math.isfinite(loss) and math.isfinite(norm)
        self.skipped = 0 if finite else self.skipped + 1
        if self.skipped > (MOST_SKIPPED if self.precision.scale_gradients else 0):
            raise TrainingDiverged(
                f"fine-tuning, step {step}: expected a finite loss and gradient, found {loss} and {norm}."
            )
        return finite

    @property
    def _variates(self) -> int:
        """Rows a series: `fit` counts covariates among its batch size."""
        return len(self._prepared(0, 0)["context"])

    def _prepared(self, index: int, further: int) -> dict[str, Any]:
        return prepared(self.data, self.split, index, int(self.split.ends[index]) + further)


class _Lazy:
    """The series that `fit` draws its windows from, read one at a time."""

    def __init__(self, trainer: Chronos2Trainer, series: Split) -> None:
        self.trainer, self.series = trainer, series
        self.last: tuple[int, dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.series.starts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        # `fit` asks three times in a row for each window that it cuts.
        if self.last is None or self.last[0] != index:
            self.last = (index, self.trainer._prepared(int(index), 0))
        return self.last[1]
