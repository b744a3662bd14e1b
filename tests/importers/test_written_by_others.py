"""Files that other programs wrote, not this project; see written_by_others/README.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from importer_scenes import ELL, LEFT, RIGHT, iou, load, mask_of
from mask2former_mt.importers.dataset_import import import_dataset
from mask2former_mt.importers.source import ImportOptions

FILES = Path(__file__).parent / "written_by_others"


def brush_mask() -> np.ndarray:
    """A square with a hole."""
    mask = np.zeros((48, 64), dtype=bool)
    mask[10:20, 30:40] = True
    mask[13:16, 33:36] = False
    return mask


@pytest.mark.parametrize(
    ("format_name", "path"),
    [
        ("coco", "datumaro_coco/annotations/instances_default.json"),
        ("cvat", "datumaro_cvat/annotations.xml"),
    ],
)
def test_what_cvat_exports_with(tmp_path, format_name, path):
    done = import_dataset(
        format_name,
        {"train": FILES / path},
        tmp_path,
        options=ImportOptions(crowd="object", unusable="skip"),
        dataset_name="cvat",
    )
    loaded = load(tmp_path / "cvat.yaml")["train"]
    assert loaded["empty.png"] == []
    expected = [
        ("dog", mask_of([ELL], 48, 64), {"colour": "red", "occluded": "yes"}),
        ("cat", mask_of([LEFT, RIGHT], 48, 64), {"colour": "unknown", "occluded": "no"}),
        ("cat", brush_mask(), {"colour": "blue", "occluded": "no"}),
    ]
    for (name, mask, labels), wanted in zip(loaded["a b.png"], expected, strict=True):
        assert (name, labels) == (wanted[0], wanted[2])
        assert (mask == wanted[1]).all()
    assert any(note.startswith("objects left out as boxes without a mask") for note in done.notes)


def test_what_label_studio_writes(tmp_path):
    file = FILES / "label_studio_sdk" / "export.json"
    import_dataset("label-studio", {"train": file}, tmp_path, dataset_name="tiny")
    loaded = load(tmp_path / "tiny.yaml")["train"]
    assert loaded["empty.png"] == []
    (dog, dog_mask, dog_labels), (cat, cat_mask, cat_labels) = loaded["a b.png"]
    assert (dog, dog_labels) == ("dog", {"colour": "red"})
    assert (dog_mask == mask_of([ELL], 48, 64)).all()
    assert (cat, cat_labels) == ("cat", {"colour": "blue"})
    assert (cat_mask == brush_mask()).all()


@pytest.mark.parametrize(
    ("format_name", "path"),
    [("yolo", "supervision_yolo/data.yaml"), ("labelme", "supervision_labelme")],
)
def test_what_supervision_writes(tmp_path, format_name, path):
    import_dataset(format_name, {"train": FILES / path}, tmp_path, dataset_name="tiny")
    loaded = load(tmp_path / "tiny.yaml")["train"]
    assert loaded["empty.png"] == []
    (dog, dog_mask, _), (cat, cat_mask, _) = loaded["a b.png"]
    assert (dog, cat) == ("dog", "cat")
    # It draws outlines through the centres of a mask's outermost pixels: half a pixel is lost on
    # each side. The convex hull of the L would be at 700 / 1200 = 0.58.
    assert iou(dog_mask, mask_of([ELL], 48, 64)) > 0.85
    assert iou(cat_mask, mask_of([RIGHT], 48, 64)) > 0.75
