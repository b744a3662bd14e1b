"""What of the operator can be compiled here, and why not: for setup.py and collect_env alike.

setup.py runs this file by its path, before the package can be imported: it imports nothing of ours.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sysconfig

# PyTorch's stable ABI has had what the operator needs since this release.
STABLE_ABI = (2, 10)
# Where no GPU is seen and TORCH_CUDA_ARCH_LIST is not set: Turing, Ampere, Hopper, and code that
# the driver compiles for what comes after.
ARCHITECTURES = "7.5;8.0;9.0+PTX"


@dataclasses.dataclass(frozen=True)
class Toolchain:
    """What compiles one part of the operator.

    Args:
        compiler: path or name of the compiler, "" without one.
        missing: why this part cannot be compiled, "" if it can.
        architectures: of the CUDA part, such as "8.0;9.0+PTX".
    """

    compiler: str
    missing: str
    architectures: str = ""


def _torch_missing() -> str:
    if importlib.util.find_spec("torch") is None:
        return "PyTorch cannot be seen: install it first, and add --no-build-isolation"
    import torch

    version = tuple(int(n) for n in torch.__version__.split(".")[:2])
    if version < STABLE_ABI:
        return f"PyTorch is {torch.__version__}, at least {STABLE_ABI[0]}.{STABLE_ABI[1]} is needed"
    return ""


def cpu_toolchain() -> Toolchain:
    """The C++ compiler: that of CXX, or the one that Python was built with."""
    compiler = shlex.split(os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++")[0]
    missing = _torch_missing()
    if not missing and shutil.which(compiler) is None:
        missing = f"no C++ compiler ({compiler}); on Debian and Ubuntu: apt install g++"
    return Toolchain(compiler, missing)


def find_nvcc() -> str:
    """Path of nvcc: in CUDA_HOME, on the PATH or where NVIDIA installs it; "" without one."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home:
        named = pathlib.Path(home) / "bin" / "nvcc"
        return str(named) if named.exists() else ""
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin") or ""


def nvcc_version(nvcc: str) -> str:
    """Such as "13.0"; "" where it does not say."""
    try:
        said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    found = re.search(r"release (\d+\.\d+)", said.stdout)
    return found.group(1) if found else ""


def cuda_toolchain() -> Toolchain:
    """nvcc of PyTorch's own major version, and the architectures to compile for."""
    nvcc = find_nvcc()
    missing = _torch_missing() or cpu_toolchain().missing
    if missing:
        return Toolchain(nvcc, missing)
    import torch

    if torch.version.cuda is None:
        missing = "this PyTorch is built without CUDA"
    elif not nvcc:
        missing = (
            "no nvcc, in CUDA_HOME or on the PATH; this PyTorch needs that of CUDA "
            f"{torch.version.cuda.split('.')[0]}"
        )
    elif nvcc_version(nvcc).split(".")[0] != torch.version.cuda.split(".")[0]:
        missing = (
            f"{nvcc} is of CUDA {nvcc_version(nvcc) or 'unknown'}, this PyTorch of "
            f"{torch.version.cuda}: the major versions must agree"
        )
    architectures = _architectures()
    if not missing:
        try:
            gencode_flags(architectures)
        except ValueError as error:
            missing = str(error)
    return Toolchain(nvcc, missing, architectures)


def _architectures() -> str:
    named = os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip()
    if named:
        return ";".join(part for part in re.split(r"[;,\s]+", named) if part)
    import torch

    if not torch.cuda.is_available():
        return ARCHITECTURES
    seen = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    return ";".join(f"{major}.{minor}" for major, minor in sorted(seen))


def gencode_flags(architectures: str) -> list[str]:
    """nvcc's flags for "8.0;9.0+PTX".

    Raises:
        ValueError: an entry is not of that form.
    """
    flags = []
    for entry in architectures.split(";"):
        found = re.fullmatch(r"(\d+)\.(\d[af]?)(\+PTX)?", entry)
        if not found:
            raise ValueError(
                f"TORCH_CUDA_ARCH_LIST must be such as '8.0;9.0+PTX', got {architectures!r}"
            )
        number = found.group(1) + found.group(2)
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if found.group(3):
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags
