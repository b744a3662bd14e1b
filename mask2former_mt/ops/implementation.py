"""Which implementation of the operators runs, compiled or PyTorch: chosen in one place."""

from __future__ import annotations

import enum

import torch

from mask2former_mt.ops import native


class Implementation(enum.Enum):
    """The choice that MODEL.MS_DEFORM_ATTN_IMPL names; `Implementation("torch")` reads the name.

    AUTO takes the compiled operator where there is one for the device, NATIVE insists on it, and
    TORCH takes PyTorch's.

    Raises:
        ValueError: another name.
    """

    AUTO = "auto"
    NATIVE = "native"
    TORCH = "torch"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(
            f"the implementation must be 'auto', 'native' or 'torch', got {value!r}; see "
            "MODEL.MS_DEFORM_ATTN_IMPL"
        )

    def is_native(self, device: torch.device, *, channels: int = 4, levels: int = 1) -> bool:
        """Whether the compiled operator runs, by what is compiled and not by what fails.

        Args:
            device: device of the tensors.
            channels: D, channels per head; the GPU's kernel needs a multiple of 4.
            levels: L, at most 16 in the GPU's kernel.

        Raises:
            ValueError: NATIVE where nothing is compiled for the device, or not for these channels
                and levels.
        """
        if self is Implementation.TORCH:
            return False
        # Nothing runs on meta tensors; they take the way that the CPU's would.
        usable = native.is_available("cpu" if device.type == "meta" else device.type)
        fits = device.type != "cuda" or (channels % 4 == 0 and levels <= 16)
        if self is Implementation.NATIVE and usable and not fits:
            raise ValueError(
                "value must have a multiple of 4 channels per head on a GPU and at most 16 levels, "
                f"got {channels} and {levels}; set MODEL.MS_DEFORM_ATTN_IMPL to 'auto'"
            )
        if self is Implementation.NATIVE and not usable:
            raise ValueError(
                f"no compiled ms_deform_attn for device {device}: {native.BUILD_COMMAND}, or set "
                "MODEL.MS_DEFORM_ATTN_IMPL to 'auto'"
            )
        return usable and fits


IMPLEMENTATIONS = tuple(choice.value for choice in Implementation)
