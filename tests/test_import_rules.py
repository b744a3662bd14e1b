"""Who may import whom, who may read the config, and what is private: held by the syntax alone."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import mask2former_mt

PACKAGE = Path(mask2former_mt.__file__).parent
NAME = PACKAGE.name
# Stands beside the package, and is installed within it.
IMPORTERS = PACKAGE.parent / "importers"

# From the bottom to the top: a package or module, and what it may import besides itself. The most
# specific row holds for a module; a row names only rows above it, so no import leads upwards.
RULES = {
    "structures": (),
    "label_lists": ("structures",),
    "files": (),
    "ops": ("structures",),
    "collect_env": ("ops",),
    "solver": (),
    "layers": ("ops",),
    "dataset": ("structures", "label_lists", "files"),
    "visualization": ("dataset.rle", "structures"),
    "data": ("dataset", "label_lists", "structures"),
    "losses": ("layers.point_sampling", "ops.implementation", "structures"),
    "postprocess": ("ops", "structures"),
    "modeling.backbone": ("layers", "ops", "structures"),
    "modeling.pixel_decoder": ("layers", "ops", "structures"),
    "modeling.heads": ("layers", "ops", "structures"),
    "modeling.transformer_decoder": ("modeling.heads", "layers", "ops", "structures"),
    "modeling.sem_seg_head": (
        "modeling.pixel_decoder",
        "modeling.transformer_decoder",
        "structures",
    ),
    "modeling.inference": ("ops.implementation", "postprocess", "structures"),
    "modeling.mapped_targets": ("structures",),
    "modeling.mask_rcnn": (
        "modeling.backbone",
        "modeling.mapped_targets",
        "losses",
        "ops",
        "postprocess.applicable_labels",
        "structures",
    ),
    "modeling.meta_arch": (
        "modeling.backbone",
        "modeling.inference",
        "modeling.mapped_targets",
        "modeling.sem_seg_head",
        "losses",
        "ops.implementation",
        "structures",
    ),
    "modeling.whole_model": (),
    "evaluation": ("dataset", "files", "label_lists", "structures", "ops.encode_masks"),
    # Draws the best and the worst pictures.
    "evaluation.report": ("evaluation", "dataset", "files", "structures", "visualization"),
    # The names that a key may take are written once, where they are implemented, and the config
    # takes its rules from there. None of these imports the config: each is handed its values.
    "config.config_rules": (),
    # detectron2's keys, and who reads them.
    "config.rcnn_keys": ("config.config_rules",),
    "config.config_nodes": (),
    "config.detectron2_keys": (
        *("config.config_nodes", "config.config_rules", "config.rcnn_keys"),
        *("data", "modeling", "solver"),
    ),
    "config": (*("data", "evaluation", "label_lists", "modeling", "ops", "postprocess", "solver"),),
    "check": ("config", "dataset", "data", "files", "label_lists", "structures", "visualization"),
    # Everything but programs.
    "engine": (
        *(
            "collect_env",
            "config",
            "data",
            "dataset",
            "evaluation",
            "files",
            "label_lists",
            "layers",
            "losses",
            "modeling",
            "ops",
        ),
        *("postprocess", "solver", "structures", "visualization"),
    ),
    # Loads a checkpoint, and trains nothing.
    "predict": (
        *("config", "data", "dataset", "engine.checkpoint", "engine.memory", "evaluation"),
        *("files", "modeling.whole_model", "label_lists", "structures", "visualization"),
    ),
    # What is imported is repaired as a check repairs it.
    "importers": ("check.repair", "dataset", "files", "label_lists", "structures"),
}
# The package's own first lines, which import all that registers something.
FREE = {"", "_requirements"}
# Functions that may read the config, besides everything in these places.
CONFIG_PLACES = ("config", "engine", "solver")
CONFIG_READERS = ("from_config", "build_")
# Private by their names only: of libraries, which offer no other way.
PRIVATE_OF_LIBRARIES = {
    "_asdict": "public, of named tuples",
    "_convert_ndarray_to_tensor": "a step of fvcore's Checkpointer, for those that derive from it",
    "_last_eval_results": "where detectron2's trainer keeps what `results` gives",
    "_version": "the number of in-place changes of a tensor",
    "_init_box_head": "a step of detectron2's heads of regions, for those that derive from them",
    "_open_cfg": "how fvcore's CfgNode opens a file, for those that derive from it",
    "_conv_forward": "a step of nn.Conv2d, for those that derive from it",
    "_modules": "the names that an nn.Module has taken",
}


def module_name(file: Path) -> str:
    base = IMPORTERS.parent if IMPORTERS in file.parents else PACKAGE
    parts = file.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted([*PACKAGE.rglob("*.py"), *IMPORTERS.rglob("*.py")])
# An empty __init__.py imports nothing, and has no row.
MODULES = {module_name(file): file for file in FILES if file.stat().st_size}
SOURCES = {module: file.read_text(encoding="utf-8") for module, file in MODULES.items()}
every_module = pytest.mark.parametrize("module", sorted(MODULES))


def covers(row: str, module: str) -> bool:
    return module == row or module.startswith(f"{row}.")


def row_of(module: str) -> str | None:
    """The most specific row that stands for a module or package; None where none does."""
    return max((row for row in RULES if covers(row, module)), key=len, default=None)


def imports_of(source: str, module: str, *, is_package: bool = False) -> set[str]:
    """The modules of ours that a source imports, anywhere in it, without the package's name."""
    # What relative imports count from.
    base = [NAME, *filter(None, module.split("."))]
    if not is_package:
        base = base[:-1]
    imported = set()
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
            if not (covers(NAME, name) or covers(IMPORTERS.name, name)):
                continue
            name = name.removeprefix(NAME).removeprefix(".")
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            imported.add(name)
    return imported


IMPORTS = {
    module: imports_of(SOURCES[module], module, is_package=file.name == "__init__.py")
    for module, file in MODULES.items()
}


@pytest.mark.parametrize("module", sorted(set(MODULES) - FREE))
def test_a_module_imports_only_what_its_row_names(module):
    row = row_of(module)
    assert row is not None, f"{module} stands in no row of the table"
    allowed = (row, *RULES[row])
    assert {name for name in IMPORTS[module] if not any(covers(a, name) for a in allowed)} == set()


def test_a_row_names_only_rows_above_it_and_stands_for_something():
    rows = list(RULES)
    for position, row in enumerate(rows):
        assert any(covers(row, module) for module in MODULES), row
        above = rows[:position]
        for name in RULES[row]:
            assert any(covers(a, name) or covers(name, a) for a in above), f"{row}: {name}"
            assert not any(covers(name, below) for below in rows[position + 1 :]), f"{row}: {name}"


@pytest.mark.parametrize("of_packages", [True, False], ids=["packages", "modules"])
def test_no_imports_form_a_circle(of_packages):
    graph: dict[str, set[str]] = {}
    for module, imported in IMPORTS.items():
        if module in FREE:
            continue
        for name in imported - FREE:
            ends = [end.split(".")[0] if of_packages else end for end in (module, name)]
            if ends[0] != ends[1]:
                graph.setdefault(ends[0], set()).add(ends[1])
    graphlib.TopologicalSorter(graph).prepare()  # a circle raises CycleError, which names it


def test_file_names_are_unique():
    names = Counter(file.name for file in FILES if file.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


def foreign_private(source: str) -> set[str]:
    """Private attributes that a source uses, and private names that it imports, but not defines."""
    used, defined = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.Attribute):
            (defined if isinstance(node.ctx, ast.Store) else used).add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            used |= {alias.name for alias in node.names}
    return {name for name in used - defined if name.startswith("_") and not name.startswith("__")}


@pytest.mark.parametrize("module", sorted(set(MODULES) - FREE))
def test_no_module_uses_what_is_private_to_another(module):
    assert foreign_private(SOURCES[module]) - set(PRIVATE_OF_LIBRARIES) == set()


def config_readers(source: str) -> set[str]:
    """The outermost functions, as Class.function, that touch an attribute or item of `cfg`."""
    readers = set()

    def visit(node: ast.AST, path: tuple[str, ...]) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            path = (*path, node.name)
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and is_config(node.value):
            readers.add(".".join(path))
        for child in ast.iter_child_nodes(node):
            visit(child, path)

    def is_config(node: ast.AST) -> bool:
        return (isinstance(node, ast.Name) and node.id in ("cfg", "config")) or (
            isinstance(node, ast.Attribute) and node.attr == "cfg"
        )

    visit(ast.parse(source), ())
    return readers


def may_read_config(function: str) -> bool:
    return any(part.startswith(CONFIG_READERS) for part in function.split("."))


@every_module
def test_only_those_who_build_read_the_config(module):
    if module.split(".")[0] not in CONFIG_PLACES:
        readers = config_readers(SOURCES[module])
        assert {function for function in readers if not may_read_config(function)} == set()


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import os\nfrom torch import nn", set()),
        (f"import {NAME}.structures", {"structures"}),
        (f"from {NAME} import structures", {"structures"}),
        (f"from {NAME}.structures import UNKNOWN", {"structures"}),
        (f"def f():\n    from {NAME}.dataset import catalog", {"dataset.catalog"}),
        ("from importers.yolo import import_yolo", {"importers.yolo"}),
        ("from .heads import class_head", {"modeling.heads"}),
        ("from ..ops import ms_deform_attn", {"ops.ms_deform_attn"}),
        ("from .. import structures", {"structures"}),
        (f"import {NAME}", {""}),
    ],
)
def test_the_check_sees_every_form_of_import(source, imported):
    assert imports_of(source, "modeling.transformer_decoder") == imported


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


def test_the_check_sees_what_is_private_to_another():
    source = "from a import _b\nclass C:\n    def d(self, e): self._f = e._g; return self._f"
    assert foreign_private(source) == {"_b", "_g"}


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
