"""`python -m mask2former_mt.collect_env`: versions, what is compiled, and why the rest is not."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import torch

from mask2former_mt.ops import native
from mask2former_mt.ops.toolchain import (
    Toolchain,
    cpu_toolchain,
    cuda_toolchain,
    find_nvcc,
    nvcc_version,
)

PACKAGES = (
    "mask2former_mt",
    "torchvision",
    "detectron2",
    "timm",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "opencv-python",
    "pycocotools",
    "fvcore",
    "Pillow",
    "transformers",
    "onnx",
    "onnxruntime",
)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # A detectron2 that was unpacked without installing it has no package metadata.
        if package != "detectron2":
            return None
        import detectron2

        return detectron2.__version__


def _build_status(device_type: str, toolchain: Toolchain) -> str:
    library = native.library_file(device_type)
    if library is not None:
        try:
            return f"{library.name} ({native.description(device_type)})"
        # This report is there to say what is wrong with it.
        except (OSError, AttributeError, RuntimeError) as error:
            return f"{library.name} cannot be loaded: {error}; {native.BUILD_COMMAND}"
    if toolchain.missing:
        return f"not compiled: {toolchain.missing}"
    return f"not compiled, though it could be: {native.BUILD_COMMAND}"


def collect_env() -> list[tuple[str, str]]:
    """Names and values for a bug report, in order."""
    nvcc = find_nvcc()
    rows = [
        ("system", platform.platform()),
        ("Python", platform.python_version()),
        ("cores", f"{os.cpu_count()}, PyTorch uses {torch.get_num_threads()}"),
        ("PyTorch", f"{torch.__version__}, CUDA {torch.version.cuda or 'not built in'}"),
        ("CPU instructions", torch.backends.cpu.get_cpu_capability()),
    ]
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        rows.append(
            (f"GPU {index}", f"{torch.cuda.get_device_name(index)}, architecture {major}.{minor}")
        )
    if not torch.cuda.is_available():
        rows.append(("GPU", "none that PyTorch can use"))
    rows.append(("nvcc", f"{nvcc}, {nvcc_version(nvcc)}" if nvcc else "none"))
    rows += [(name, version) for name in PACKAGES if (version := _version(name)) is not None]
    rows.append(("ms_deform_attn, CPU", _build_status("cpu", cpu_toolchain())))
    rows.append(("ms_deform_attn, CUDA", _build_status("cuda", cuda_toolchain())))
    return rows


def main() -> None:
    rows = collect_env()
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


if __name__ == "__main__":
    main()
