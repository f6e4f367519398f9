"""Which device and number format a model runs on. Pure decision, small probe. Runs on the instance, in the worker."""

from dataclasses import dataclass

AMPERE = (8, 0)


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


def probe() -> Hardware:
    """Ask PyTorch for the first CUDA device."""
    import torch  # noqa: PLC0415 - the supervisor must not pay for PyTorch

    if not torch.cuda.is_available():
        return Hardware(cuda=False)
    return Hardware(
        cuda=True,
        capability=torch.cuda.get_device_capability(0),
        native_bfloat16=torch.cuda.is_bf16_supported(including_emulation=False),
        name=torch.cuda.get_device_name(0),
    )
