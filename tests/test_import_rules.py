"""Who may import whom, and who may read the config: the package's layers, held by its syntax."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mask2former_mt

PACKAGE = Path(mask2former_mt.__file__).parent
NAME = PACKAGE.name

# A module or package and what of ours it may import; the most specific row holds. A row stands for
# all modules below it, and the modules of one package may import each other where it says so.
RULES = {
    "structures": (),
    # Takes the names of choices from where they are implemented; none of these imports it.
    "config": (
        "data",
        "engine.lr_scaling",
        "engine.optimizer",
        "evaluation",
        "modeling",
        "ops",
        "postprocess",
    ),
    "files": (),
    "ops": ("ops", "structures"),
    "collect_env": ("ops",),
    "engine.lr_scaling": (),
    "engine.optimizer": (),
    "engine.convert_weights": (),
    "layers": ("layers", "ops"),
    "dataset": ("dataset", "structures", "files"),
    "data": ("data", "dataset", "structures"),
    "check": ("check", "dataset", "data", "files", "structures", "visualization"),
    "modeling.backbone": ("modeling.backbone", "layers", "ops", "structures"),
    "modeling.pixel_decoder": ("layers", "ops", "structures"),
    "modeling.heads": ("layers", "ops", "structures"),
    "modeling.transformer_decoder": ("layers", "ops", "structures", "modeling.heads"),
    "modeling.sem_seg_head": (
        "modeling.pixel_decoder",
        "modeling.transformer_decoder",
        "structures",
    ),
    "losses": ("losses", "layers.point_sampling", "ops.implementation", "structures"),
    "postprocess": ("postprocess", "ops", "structures"),
    "modeling.inference": ("ops.implementation", "postprocess", "structures"),
    "modeling.meta_arch": (
        "modeling.backbone",
        "modeling.inference",
        "modeling.sem_seg_head",
        "losses",
        "ops.implementation",
        "structures",
    ),
    "evaluation": ("evaluation", "dataset", "files", "structures", "ops.encode_masks"),
    # Draws the worst and best pictures.
    "evaluation.report": ("evaluation", "dataset", "files", "structures", "visualization"),
    "visualization": ("visualization", "structures"),
    "predict": (
        "predict",
        "config",
        "data",
        "dataset",
        "engine.checkpoint",
        "evaluation",
        "files",
        "structures",
        "visualization",
    ),
    "engine": (
        "collect_env",
        "config",
        "data",
        "dataset",
        "engine",
        "evaluation",
        "files",
        "layers",
        "losses",
        "modeling",
        "ops",
        "postprocess",
        "structures",
        "visualization",
    ),
    "importers": ("importers", "dataset", "files", "structures"),
}
# Free: the package's own first lines.
FREE = {"", "_requirements"}
# Functions that may read the config, besides everything in these places.
CONFIG_PLACES = ("config", "engine")
CONFIG_READERS = ("from_config", "build_")


# They stand beside the package, and are installed within it.
IMPORTERS = PACKAGE.parent / "importers"


def module_name(file: Path) -> str:
    base = IMPORTERS.parent if IMPORTERS in file.parents else PACKAGE
    parts = file.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# An empty __init__.py imports nothing, and has no row.
MODULES = {
    module_name(file): file
    for folder in (PACKAGE, IMPORTERS)
    for file in sorted(folder.rglob("*.py"))
    if file.stat().st_size
}


def covers(row: str, module: str) -> bool:
    return module == row or module.startswith(f"{row}.")


def allowed(module: str) -> tuple[str, ...] | None:
    """What the most specific row allows; None where no row stands for the module."""
    rows = [row for row in RULES if covers(row, module)]
    return RULES[max(rows, key=len)] if rows else None


def imports_of(source: str, module: str, *, is_package: bool) -> set[str]:
    """The modules of ours that a source imports, anywhere in it, without the package's name."""
    # What relative imports count from.
    base = [NAME, *filter(None, module.split("."))]
    if not is_package:
        base = base[:-1]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = base[: len(base) - node.level + 1] if node.level else []
            origin = ".".join([*start, *filter(None, [node.module])])
            # `from package import module` imports the module.
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name != NAME and not name.startswith(f"{NAME}."):
                continue
            name = name[len(NAME) + 1 :]
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            found.add(name)
    return found


def config_readers(source: str) -> set[str]:
    """The outermost functions, as Class.function, that touch an attribute or item of `cfg`."""
    found = set()

    def visit(node: ast.AST, path: tuple[str, ...]) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            path = (*path, node.name)
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and is_config(node.value):
            found.add(".".join(path))
        for child in ast.iter_child_nodes(node):
            visit(child, path)

    def is_config(node: ast.AST) -> bool:
        return (isinstance(node, ast.Name) and node.id in ("cfg", "config")) or (
            isinstance(node, ast.Attribute) and node.attr == "cfg"
        )

    visit(ast.parse(source), ())
    return found


def may_read_config(function: str) -> bool:
    return any(part.startswith(CONFIG_READERS) for part in function.split("."))


@pytest.mark.parametrize("module", sorted(set(MODULES) - FREE))
def test_a_module_imports_only_what_its_layer_may(module):
    rule = allowed(module)
    assert rule is not None, f"{module} stands in no row of the table"
    file = MODULES[module]
    imported = imports_of(
        file.read_text(encoding="utf-8"), module, is_package=file.name == "__init__.py"
    )
    assert {name for name in imported if not any(covers(row, name) for row in rule)} == set()


def test_every_row_stands_for_something():
    for row in RULES:
        assert any(covers(row, module) for module in MODULES), row


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_those_who_build_read_the_config(module):
    if module.split(".")[0] in CONFIG_PLACES:
        return
    readers = config_readers(MODULES[module].read_text(encoding="utf-8"))
    assert {function for function in readers if not may_read_config(function)} == set()


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import os\nfrom torch import nn", set()),
        (f"import {NAME}.structures", {"structures"}),
        (f"from {NAME} import structures", {"structures"}),
        (f"from {NAME}.structures import UNKNOWN", {"structures"}),
        (f"def f():\n    from {NAME}.dataset import catalog", {"dataset.catalog"}),
        ("from .heads import class_head", {"modeling.heads"}),
        ("from ..ops import ms_deform_attn", {"ops.ms_deform_attn"}),
        ("from .. import structures", {"structures"}),
        (f"import {NAME}", {""}),
    ],
)
def test_the_check_sees_every_form_of_import(source, imported):
    assert imports_of(source, "modeling.transformer_decoder", is_package=False) == imported


@pytest.mark.parametrize(
    ("source", "readers"),
    [
        ("def f(cfg): return cfg.MODEL.DEVICE", {"f"}),
        ("class A:\n    def g(self): return self.cfg['MODEL']", {"A.g"}),
        ("def build_a(cfg):\n    def h(): return cfg.INPUT\n", {"build_a.h"}),
        ("def f(cfg): return build(cfg)", set()),  # handing it on is not reading it
    ],
)
def test_the_check_sees_who_reads_the_config(source, readers):
    assert config_readers(source) == readers
    assert may_read_config("build_a.h")
    assert not may_read_config("A.g")


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment},
        check=False,
    )


def test_the_import_registers_builds_nothing_and_needs_no_gpu():
    code = """
import sys
import torch
def refuse(*args, **kwargs):
    raise AssertionError("the import asked for a GPU or built something")
torch._C._cuda_init = torch.nn.Linear.__init__ = torch.nn.Conv2d.__init__ = refuse
import mask2former_mt
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
print(
    "MultiTaskMaskFormer" in META_ARCH_REGISTRY,
    "MaskFormer" in META_ARCH_REGISTRY,
    "MaskFormerHead" in SEM_SEG_HEADS_REGISTRY,
    "build_timm_backbone" in BACKBONE_REGISTRY,
    torch.cuda.is_initialized(),
    "torch.utils.cpp_extension" in sys.modules,
    *mask2former_mt.__all__,
)
"""
    done = run_python(code, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        *["True"] * 4,
        *["False"] * 2,
        "SubcategorySpec",
        "add_mask2former_mt_config",
        "register_dataset_files",
    ]


HIDE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
"""


@pytest.mark.parametrize("module", ["mask2former_mt", "mask2former_mt.engine.main"])
def test_detectron2_missing_says_what_to_do(module):
    done = run_python(HIDE.format(hidden="detectron2") + f"import {module}")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: detectron2 is not installed. Run `make setup`, or in an environment of your "
        "own `python tools/install_detectron2.py`; see README, 'Install'"
    )


def test_what_detectron2_itself_misses_is_named():
    done = run_python(HIDE.format(hidden="fvcore") + "import mask2former_mt")
    assert done.returncode == 1
    assert "No module named 'fvcore'" in done.stderr
    assert "detectron2 is not installed" not in done.stderr
