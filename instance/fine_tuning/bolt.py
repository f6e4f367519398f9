"""The training loop of Chronos-Bolt, which has none of its own. Runs in the worker."""

import math
import time
from collections.abc import Callable
from typing import Any

from contracts.reasons import OutOfMemory, TrainingDiverged
from instance.fine_tuning.feed import batches
from instance.fine_tuning.samples import FlatSeries, Sampler, split
from instance.fine_tuning.schedule import learning_rate
from instance.fine_tuning.settings import Progress, StepReport, TrainingSettings
from instance.fine_tuning.weights import Tensors, copy_of, moments_of, put_into, remember
from instance.hardware import Placement, Precision, free_memory, is_out_of_memory
from instance.models.chronos_families import on_device

WEIGHT_DECAY = 0.01
LONGEST_GRADIENT = 1.0
# Scaling begins at 65,536 and halves at each overflow: twenty halvings in a row are no search for a scale any more.
MOST_SKIPPED = 20


class BoltTrainer:
    """AdamW on the model's own quantile loss, with accumulation, clipping, and float16 where the device asks for it.

    Parameters
    ----------
    pipeline
        A `ChronosBoltPipeline` in float32.
    data : FlatSeries
    settings : TrainingSettings
    peak : float
        Learning rate.
    placement, precision : Placement, Precision
        Where, and in which numbers.

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
        import torch  # noqa: PLC0415 - loaded with the first model, not with the module

        self.model = pipeline.model
        self.settings, self.peak = settings, peak
        self.placement, self.precision = placement, precision
        target_length = min(settings.horizon, int(pipeline.model_prediction_length))
        series = split(data.starts, settings.horizon, settings.n_windows, target_length)
        self.sampler = Sampler(data.values, series, int(pipeline.model_context_length), settings.seed)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=peak, betas=(0.9, 0.999), weight_decay=WEIGHT_DECAY, fused=True
        )
        self.scaler = torch.amp.GradScaler(placement.device, enabled=precision.scale_gradients)
        self.skipped = 0

    def run(self, progress: Progress, last: int, on_step: Callable[[StepReport], None]) -> None:
        """Do the steps after `progress.step` up to `last`, and note them in `progress`.

        Raises
        ------
        TrainingDiverged
            The loss or the gradient is not finite, beyond what the scaling of float16 has to try.
        OutOfMemory
            Not even one series fits into memory.
        """
        self.model.train()
        steps = self.settings.steps
        feed = batches(self.sampler, progress.step + 1, last, self.settings.batch_size, self.model.device)
        for step, context, target in feed:
            began = time.perf_counter()
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, self.peak)
            loss = self._step_in_memory(step, progress, context, target)
            progress.step = step
            progress.losses.append(loss)
            on_step(StepReport(step, steps, loss, len(context) / (time.perf_counter() - began)))

    def validation_loss(self) -> float:
        """Return the loss on the steps before the first cutoff, each series counting the same."""
        import torch  # noqa: PLC0415

        self.model.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for context, target in self.sampler.validation():
                rows = (on_device(part, self.model.device) for part in (context, target))
                total += float(self._loss(*rows)) * len(context)
                count += len(context)
        return total / count

    def weights(self) -> Tensors:
        """Return a copy of the weights."""
        return copy_of(self.model)

    def put_weights(self, weights: Tensors) -> None:
        """Overwrite the weights."""
        put_into(self.model, weights)

    def moments(self) -> Tensors:
        """Return a copy of the optimizer's moments."""
        return moments_of(self.model, self.optimizer)

    def put_moments(self, moments: Tensors) -> None:
        """Overwrite the optimizer's moments."""
        remember(self.model, self.optimizer, moments)

    def scaler_state(self) -> dict[str, Any]:
        """Return the scale of the loss and when it grows, as JSON values."""
        return dict(self.scaler.state_dict())

    def put_scaler_state(self, state: dict[str, Any]) -> None:
        """Overwrite the scale of the loss."""
        if state:
            self.scaler.load_state_dict(state)

    def tuned(self) -> Any:
        """Return the model, ready for `save_pretrained`."""
        return self.model

    def _step_in_memory(self, step: int, progress: Progress, context: Any, target: Any) -> float | None:
        """Do one step; in smaller parts from now on when memory runs out."""
        while True:
            try:
                return self._step(step, progress.accumulation, context, target)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if progress.accumulation >= len(context):
                    raise OutOfMemory(
                        f"fine-tuning: expected room for one series on the {self.placement.device}, found: "
                        f"{str(error)[:200]}. Use smaller weights."
                    ) from error
            progress.accumulation = min(2 * progress.accumulation, len(context))
            self.optimizer.zero_grad(set_to_none=True)
            free_memory(self.placement.device)

    def _step(self, step: int, parts: int, context: Any, target: Any) -> float | None:
        import torch  # noqa: PLC0415

        # Dropout, too, is a function of the seed and the step, so that a resume needs no random state.
        torch.manual_seed((self.settings.seed << 20) + step)
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for rows, ahead in zip(context.tensor_split(parts), target.tensor_split(parts), strict=True):
            loss = self._loss(rows, ahead) * (len(rows) / len(context))
            self.scaler.scale(loss).backward()
            total += float(loss.detach())
        self.scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), LONGEST_GRADIENT))
        finite = math.isfinite(total) and math.isfinite(norm)
        self._judge(step, finite, total, norm)
        self.scaler.step(self.optimizer)  # leaves the weights alone where a gradient overflowed
        self.scaler.update()
        return total if finite else None

    def _judge(self, step: int, finite: bool, loss: float, norm: float) -> None:
        self.skipped = 0 if finite else self.skipped + 1
        allowed = MOST_SKIPPED if self.precision.scale_gradients else 0
        if self.skipped > allowed:
            raise TrainingDiverged(
                f"fine-tuning, step {step}: expected a finite loss and gradient, found {loss} and {norm}"
                + (f", for the {self.skipped}th time in a row." if allowed else ".")
            )

    def _loss(self, context: Any, target: Any) -> Any:
        import torch  # noqa: PLC0415

        dtype = getattr(torch, self.precision.autocast or "float32")
        with torch.autocast(self.placement.device, dtype=dtype, enabled=self.precision.autocast is not None):
            return self.model(context=context, target=target).loss
