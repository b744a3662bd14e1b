"""Which parts of the operators can be compiled here, and if not, why; for setup.py and collect_env.

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

# The first release of PyTorch whose stable ABI has all that the operators need.
STABLE_ABI = (2, 10)
# Used where there is no GPU and TORCH_CUDA_ARCH_LIST is not set: Turing, Ampere, Hopper, and PTX
# that the driver compiles for later GPUs.
ARCHITECTURES = "7.5;8.0;9.0+PTX"


@dataclasses.dataclass(frozen=True)
class Toolchain:
    """What compiles one part of the operators, the CPU's or the GPU's.

    Args:
        compiler: path or name of the compiler, "" without one.
        missing: reason why this part cannot be compiled, "" if it can.
        architectures: GPU architectures to compile for, such as "8.0;9.0+PTX".
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
    """The C++ compiler that CXX names, else the one that Python was built with."""
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
    """The version of nvcc, such as "13.0"; "" where nvcc does not say it."""
    try:
        run = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    version = re.search(r"release (\d+\.\d+)", run.stdout)
    return version.group(1) if version else ""


def cuda_toolchain() -> Toolchain:
    """nvcc, which must be of PyTorch's own major version of CUDA, and the architectures."""
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
    """nvcc's flags for architectures such as "8.0;9.0+PTX".

    Raises:
        ValueError: an entry of another form.
    """
    flags = []
    for entry in architectures.split(";"):
        match = re.fullmatch(r"(\d+)\.(\d[af]?)(\+PTX)?", entry)
        if not match:
            raise ValueError(
                f"TORCH_CUDA_ARCH_LIST must be such as '8.0;9.0+PTX', got {architectures!r}"
            )
        number = match.group(1) + match.group(2)
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if match.group(3):
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags
