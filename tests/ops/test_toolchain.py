"""Which parts can be compiled and why not, and what collect_env prints."""

import subprocess
import sys

import pytest
import torch

from mask2former_mt.ops import toolchain


def fake_nvcc(folder, release):
    """A script that says what nvcc would; the real one need not be there."""
    nvcc = folder / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True, exist_ok=True)
    nvcc.write_text(f'#!/bin/sh\necho "Cuda compilation tools, release {release}, V{release}.1"\n')
    nvcc.chmod(0o755)
    return nvcc


def needs_compiler():
    if toolchain.cpu_toolchain().missing:
        pytest.skip(toolchain.cpu_toolchain().missing)
    if torch.version.cuda is None:
        pytest.skip("this PyTorch is built without CUDA")


def test_gencode_flags():
    assert toolchain.gencode_flags("8.0;9.0+PTX") == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=sm_90",
        "-gencode=arch=compute_90,code=compute_90",
    ]
    assert toolchain.gencode_flags("10.0a") == ["-gencode=arch=compute_100a,code=sm_100a"]


def test_architectures_by_name_are_a_reason_and_no_crash(tmp_path, monkeypatch):
    needs_compiler()
    fake_nvcc(tmp_path, torch.version.cuda)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "Ampere")
    assert "TORCH_CUDA_ARCH_LIST must be such as" in toolchain.cuda_toolchain().missing
    # An empty entry is none.
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;")
    assert toolchain.cuda_toolchain().architectures == "8.0"


@pytest.mark.parametrize("bad", ["", "9", "ninety", "8.0;;9.0"])
def test_architectures_of_another_form_are_refused(bad):
    with pytest.raises(ValueError, match=r"TORCH_CUDA_ARCH_LIST must be such as '8\.0;9\.0\+PTX'"):
        toolchain.gencode_flags(bad)


def test_nvcc_serves_if_it_is_of_the_same_major_version(tmp_path, monkeypatch):
    needs_compiler()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.6 9.0+PTX")
    assert "no nvcc" in toolchain.cuda_toolchain().missing
    fake_nvcc(tmp_path, "9.2")
    assert "is of CUDA 9.2, this PyTorch of" in toolchain.cuda_toolchain().missing
    nvcc = fake_nvcc(tmp_path, torch.version.cuda.split(".")[0] + ".99")
    toolkit = toolchain.cuda_toolchain()
    assert (toolkit.missing, toolkit.compiler) == ("", str(nvcc))
    assert toolkit.architectures == "8.6;9.0+PTX"


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    assert "no C++ compiler (no-such-compiler)" in toolchain.cpu_toolchain().missing
    # nvcc needs one too.
    assert "no C++ compiler (no-such-compiler)" in toolchain.cuda_toolchain().missing


def test_collect_env_says_what_is_compiled():
    printed = subprocess.run(
        [sys.executable, "-m", "mask2former_mt.collect_env"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = dict(line.split("  ", 1) for line in printed.splitlines())
    assert torch.__version__ in rows["PyTorch"]
    assert {"ms_deform_attn, CPU", "ms_deform_attn, CUDA", "nvcc", "detectron2"} <= set(rows)
