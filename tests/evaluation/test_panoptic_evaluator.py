"""The panoptic evaluator on pictures of a few pixels, its labels known by name."""

from __future__ import annotations

import json
import math
import pathlib

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from process_group import leave_process_group
from registered import restored_datasets

from mask2former_mt.evaluation.panoptic_evaluator import PanopticEvaluator
from mask2former_mt.label_lists import Labels
from mask2former_mt.structures import UNKNOWN, SubcategorySpec

NAME = "panoptic_pictures_val"
BOX, SKY = range(2)
SPEC = SubcategorySpec.from_json([{"name": "fill", "values": ["plain", "striped"]}])
PLAIN, STRIPED, NONE = range(3)
# Row by row the ids of the pixels, and per segment (id, class, label of fill).
PICTURES = {
    "1.png": ([[300, 300, 300, 7]], [(300, BOX, PLAIN), (7, SKY, NONE)]),
    "2.png": ([[5, 5, 5, 5]], [(5, BOX, UNKNOWN)]),
}


def register(folder: pathlib.Path) -> None:
    records = []
    for file_name, (ids, segments) in PICTURES.items():
        rgb = np.stack([np.array(ids) // 256**i % 256 for i in range(3)], axis=-1)
        Image.fromarray(rgb.astype(np.uint8)).save(folder / file_name)
        records.append(
            {
                "file_name": file_name,
                "pan_seg_file_name": str(folder / file_name),
                "segments_info": [
                    {"id": i, "category_id": c, "iscrowd": 0, "subcategories": [fill]}
                    for i, c, fill in segments
                ],
            }
        )
    DatasetCatalog.register(NAME, lambda: records)
    MetadataCatalog.get(NAME).set(
        thing_classes=["box", "sky"],
        stuff_classes=["box", "sky"],
        thing_dataset_id_to_contiguous_id={3: BOX},
        subcategory_spec=SPEC,
        evaluator_type="joint_panoptic",
    )


@pytest.fixture(autouse=True)
def _dataset(tmp_path):
    with restored_datasets():
        register(tmp_path)
        yield


def predicted(ids: list[list[int]], *segments: tuple[int, int, int | None]) -> dict:
    """A model's output: ids of the pixels, and per segment (id, class, value of fill or None)."""
    infos = [
        {"id": i, "category_id": c, "subcategories": {"fill": fill}} for i, c, fill in segments
    ]
    return {"panoptic_seg": (torch.tensor(ids, dtype=torch.int32), infos)}


def results_of(outputs: dict[str, dict], labels: Labels | None = None) -> dict[str, float]:
    evaluator = PanopticEvaluator(NAME, labels=labels, distributed=False)
    for file_name, output in outputs.items():
        evaluator.process([{"file_name": file_name}], [output])
    return evaluator.evaluate()["panoptic_seg"]


BOTH_RIGHT = {
    "1.png": predicted([[1, 1, 1, 2]], (1, BOX, PLAIN), (2, SKY, None)),
    "2.png": predicted([[1, 1, 1, 1]], (1, BOX, STRIPED)),
}


def test_what_is_right_is_100_percent():
    # The fill of the second box is unknown: whatever is predicted is right.
    results = results_of(BOTH_RIGHT)
    assert results == pytest.approx(dict.fromkeys(results, 100))
    assert {"PQ", "SQ", "RQ", "PQ_th", "PQ_st", "PQ^J", "PQ-box", "PQ-sky"} <= set(results)


def test_a_wrong_label_counts_in_the_joint_quality_alone():
    wrong = predicted([[1, 1, 1, 2]], (1, BOX, STRIPED), (2, SKY, None))
    results = results_of({**BOTH_RIGHT, "1.png": wrong})
    assert results["PQ"] == 100
    # Box: one match, one false positive, one miss: 1 / (1 + 1/2 + 1/2). Sky is right.
    assert results["PQ^J"] == pytest.approx(100 * (1 / 2 + 1) / 2)


def test_labels_are_known_by_name_and_other_classes_are_void(caplog):
    # The model lists a class more, and everything in another order; "dotted" is its own.
    labels = Labels(
        ("tree", "sky", "box"),
        SubcategorySpec.from_json([{"name": "fill", "values": ["dotted", "striped", "plain"]}]),
        (1, 2, 3),
    )
    outputs = {
        "1.png": predicted([[4, 4, 4, 9]], (4, 2, 2), (9, 1, None)),  # plain box, sky
        "2.png": predicted([[6, 1, 1, 1]], (6, 0, 0), (1, 2, 0)),  # a tree before a dotted box
    }
    results = results_of(outputs, labels)
    # Boxes: IoU 1 and 3/4, of two. The dotted one's fill is unknown.
    assert results["PQ-box"] == results["PQ_th"] == pytest.approx(100 * (1 + 3 / 4) / 2)
    assert results["PQ-sky"] == results["PQ_st"] == 100
    assert results["PQ^J"] == results["PQ"]
    assert "does not list are left out, as it cannot judge them: ['tree (1)']" in caplog.text

    outputs["1.png"] = predicted([[4, 4, 4, 9]], (4, 2, 0), (9, 1, None))  # a dotted box
    # One of two boxes is right, with 3/4 of its pixels: 3/4 / (1 + 1/2 + 1/2).
    assert results_of(outputs, labels)["PQ^J"] == pytest.approx(100 * (3 / 8 + 1) / 2)


def test_a_picture_that_nobody_predicted_is_missed(caplog):
    results = results_of({"1.png": BOTH_RIGHT["1.png"]})
    assert results["PQ-box"] == pytest.approx(100 / 1.5)  # one of two: 1 / (1 + 1/2)
    assert "1 of the 2 images of dataset 'panoptic_pictures_val' were not predicted" in caplog.text


def test_a_class_that_never_occurs_has_no_quality():
    MetadataCatalog.get(NAME).thing_classes.append("tree")
    results = results_of(BOTH_RIGHT)
    assert math.isnan(results["PQ-tree"])
    assert results["PQ"] == 100


def test_what_does_not_fit_is_named():
    evaluator = PanopticEvaluator(NAME, distributed=False)
    small = predicted([[1, 1]], (1, BOX, PLAIN))
    with pytest.raises(ValueError, match=r"picture 1.png: the predicted map must be \(1, 4\)"):
        evaluator.process([{"file_name": "1.png"}], [small])
    with pytest.raises(ValueError, match=r"picture 3.png is not one of the 2 of dataset"):
        evaluator.process([{"file_name": "3.png"}], [small])
    evaluator.reset()
    for _ in range(2):
        evaluator.process([{"file_name": "2.png"}], [BOTH_RIGHT["2.png"]])
    with pytest.raises(ValueError, match=r"picture 2.png was predicted 2 times"):
        evaluator.evaluate()
    with pytest.raises(ValueError, match=r"lists classes that the model does not: \['sky'\]"):
        PanopticEvaluator(NAME, labels=Labels(("box",), SPEC, (1,)))


def evaluate_half(rank: int, folder: str) -> None:
    """One of two processes: one of the pictures, then all of them together."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    own = pathlib.Path(folder, str(rank))  # so that none reads what the other is writing
    own.mkdir()
    register(own)
    evaluator = PanopticEvaluator(NAME)
    file_name = list(PICTURES)[rank]
    # The second box is not found.
    output = BOTH_RIGHT[file_name] if rank == 0 else predicted([[0, 0, 0, 0]])
    evaluator.process([{"file_name": file_name}], [output])
    results = evaluator.evaluate()
    assert (results == {}) == (rank != 0)
    if results:
        pathlib.Path(folder, "out.json").write_text(json.dumps(results), encoding="utf-8")
    leave_process_group()


def test_two_processes_add_up(tmp_path):
    torch.multiprocessing.spawn(evaluate_half, args=(str(tmp_path),), nprocs=2)
    results = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["panoptic_seg"]
    assert results == pytest.approx(results_of({**BOTH_RIGHT, "2.png": predicted([[0, 0, 0, 0]])}))
    assert results["PQ-box"] == pytest.approx(100 / 1.5)
