"""The semantic evaluator on pictures of four pixels, its classes known by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Instances
from PIL import Image
from registered import restored_datasets

from mask2former_mt.evaluation.outputs_by_name import OutputsByName
from mask2former_mt.evaluation.semantic_evaluator import SemanticEvaluator
from mask2former_mt.ops.encode_masks import encode_masks
from mask2former_mt.structures import EncodedMasks

NAME = "semantic_pictures_val"
CLASSES = ("road", "tree", "sky")
ROAD, TREE, SKY = range(3)
IGNORED = 255


@pytest.fixture
def write_map(tmp_path):
    """Writes the classes of the dataset's only picture."""
    path = tmp_path / "map.png"
    with restored_datasets():
        DatasetCatalog.register(
            NAME, lambda: [{"file_name": "a.jpg", "sem_seg_file_name": str(path)}]
        )
        MetadataCatalog.get(NAME).set(stuff_classes=list(CLASSES), ignore_label=IGNORED)
        yield lambda classes: Image.fromarray(np.array(classes, np.uint8)).save(path)


def scores(classes: list[list[int]], num_classes: int = len(CLASSES)) -> dict:
    """A model's output whose best class of each pixel is given."""
    best_HW = torch.tensor(classes)
    return {"sem_seg": torch.nn.functional.one_hot(best_HW, num_classes).permute(2, 0, 1).float()}


def results_of(output: dict, predicted=CLASSES) -> dict[str, float]:
    evaluator = OutputsByName(
        SemanticEvaluator(NAME, distributed=False), predicted=predicted, judged=CLASSES
    )
    evaluator.reset()
    evaluator.process([{"file_name": "a.jpg"}], [output])
    return evaluator.evaluate()["sem_seg"]


def test_ignored_pixels_do_not_count(write_map):
    write_map([[ROAD, ROAD], [TREE, IGNORED]])
    results = results_of(scores([[ROAD, TREE], [TREE, ROAD]]))
    # Road: one of two. Tree: one, and one more that is road.
    assert results["IoU-road"] == results["IoU-tree"] == pytest.approx(50)
    assert results["mIoU"] == results["fwIoU"] == pytest.approx(50)
    assert results["pACC"] == pytest.approx(100 * 2 / 3)


def test_classes_are_known_by_name(write_map):
    write_map([[ROAD, ROAD], [TREE, SKY]])
    predicted = ("sky", "water", "tree", "road")
    output = scores([[3, 3], [2, 0]], num_classes=4)
    assert results_of(output, predicted)["pACC"] == 100
    # Water is none of the dataset's classes: the best of those counts, here the road.
    output["sem_seg"][:, 0, 0] = torch.tensor([0.1, 0.9, 0.2, 0.5])
    assert results_of(output, predicted)["pACC"] == 100
    with pytest.raises(ValueError, match=r"must be among the model's .*, got \['sky'\] besides"):
        results_of(output, ("road", "tree"))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([[ROAD, 7], [TREE, 9]], "must hold classes below 3, and 255 for pixels to ignore, got 7"),
        ([[ROAD, TREE]], r"a class for each pixel of its picture, \(2, 2\), got \(1, 2\)"),
    ],
    ids=["class", "size"],
)
def test_maps_that_do_not_fit_are_named(write_map, classes, message):
    write_map(classes)
    with pytest.raises(ValueError, match=f"map.png must hold {message.removeprefix('must hold ')}"):
        results_of(scores([[ROAD, ROAD], [TREE, SKY]]))


class Seen:
    """An evaluator that keeps what it is given."""

    def process(self, inputs, outputs) -> None:
        self.outputs = outputs


def test_instances_of_judged_classes_get_the_evaluators_numbers():
    seen = Seen()
    by_name = OutputsByName(
        seen, predicted=("sky", "car", "bus"), judged=("bus", "car"), numbers=(15, 13)
    )
    instances = Instances(
        (1, 2), pred_classes=torch.tensor([2, 0, 1]), scores=torch.tensor([0.9, 0.8, 0.7])
    )
    masks = torch.tensor([[[0, 1]], [[0, 0]], [[1, 0]]], dtype=torch.bool)
    instances.pred_rles = EncodedMasks(encode_masks(masks))
    by_name.process([{}], [{"instances": instances}])
    (output,) = seen.outputs
    assert output["instances"].pred_classes.tolist() == [15, 13]
    assert output["instances"].scores.tolist() == pytest.approx([0.9, 0.7])
    assert torch.equal(output["instances"].pred_masks, masks[[0, 2]])
    assert instances.pred_classes.tolist() == [2, 0, 1]  # the model's own stay
