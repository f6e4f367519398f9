"""Which device and number format a model runs and trains in. Pure decisions, a probe. Runs in the worker."""

import ctypes
from dataclasses import dataclass

AMPERE = (8, 0)
# The driver's own library. The CUDA runtime opens it by this name, and finds no device without it:
# https://docs.nvidia.com/deploy/cuda-compatibility/
DRIVER_LIBRARY = "libcuda.so.1"


@dataclass(frozen=True)
class Hardware:
    """What PyTorch sees.

    Parameters
    ----------
    cuda : bool
        Whether a CUDA device can be used.
    capability : tuple of int, optional
        Compute capability, (7, 5) for a T4.
    native_bfloat16 : bool
        Whether the device has bfloat16 units; emulation does not count.
    name : str
        Name of the device.
    """

    cuda: bool
    capability: tuple[int, int] | None = None
    native_bfloat16: bool = False
    name: str = "cpu"


@dataclass(frozen=True)
class Placement:
    """Where inference runs: `cuda` or `cpu`, and the name of a torch dtype."""

    device: str
    dtype: str


def decide(hardware: Hardware) -> Placement:
    """Return device and dtype for inference.

    The CPU takes float32: without bfloat16 units it is three times slower in bfloat16. A T4 (7.5) has float16 tensor
    cores and neither bfloat16 nor TF32, so float16 there; Ampere (8.0) and later take bfloat16
    (https://docs.nvidia.com/cuda/cuda-c-programming-guide/#compute-capabilities).
    """
    if not hardware.cuda or hardware.capability is None:
        return Placement("cpu", "float32")
    if hardware.capability >= AMPERE and hardware.native_bfloat16:
        return Placement("cuda", "bfloat16")
    return Placement("cuda", "float16")


@dataclass(frozen=True)
class Precision:
    """How a model trains. Its weights stay in float32; a narrower format is for the matrix products only.

    Parameters
    ----------
    autocast : str, optional
        Name of the torch dtype of the matrix products; None for float32.
    scale_gradients : bool
        Whether the loss is scaled so that small gradients do not vanish in float16.
    """

    autocast: str | None
    scale_gradients: bool


def training_precision(placement: Placement) -> Precision:
    """Return the number format for training on the device that inference was placed on.

    float16 has five bits of exponent, so its gradients need scaling (Micikevicius et al. 2018, section 3.2); bfloat16
    has the range of float32 and needs none. A T4 is never asked for bfloat16, since `decide` never places it so.
    """
    if placement.device == "cpu" or placement.dtype == "float32":
        return Precision(autocast=None, scale_gradients=False)
    return Precision(autocast=placement.dtype, scale_gradients=placement.dtype == "float16")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out: that of the GPU, or of the machine, for which PyTorch has no error of its own."""
    import torch  # noqa: PLC0415 - the supervisor must not pay for PyTorch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def free_memory(device: str) -> None:
    """Give cached blocks back to the GPU, so that a smaller batch finds room."""
    import torch  # noqa: PLC0415 - the supervisor must not pay for PyTorch

    if device == "cuda":
        torch.cuda.empty_cache()


def driver_there() -> bool:
    """Return whether NVIDIA's driver is installed."""
    try:
        ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return False
    return True


def probe() -> Hardware:
    """Ask PyTorch for the first CUDA device; without a driver there is none, and PyTorch's seconds are saved."""
    if not driver_there():
        return Hardware(cuda=False)
    import torch  # noqa: PLC0415 - the supervisor must not pay for PyTorch

    if not torch.cuda.is_available():
        return Hardware(cuda=False)
    return Hardware(
        cuda=True,
        capability=torch.cuda.get_device_capability(0),
        native_bfloat16=torch.cuda.is_bf16_supported(including_emulation=False),
        name=torch.cuda.get_device_name(0),
    )
