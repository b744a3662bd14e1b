"""detectron2's semantic and panoptic evaluators on what the model predicts for two pictures."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOPanopticEvaluator, SemSegEvaluator, inference_on_dataset
from PIL import Image
from registered import restored_datasets
from tiny import tiny_cfg, tiny_model
from torch import nn

from mask2former_mt.structures import DecoderOutput

NAME = "dense_outputs_val"
BOX, BAR, SKY = range(3)
CATEGORIES = {BOX: 5, BAR: 7, SKY: 11}  # of the dataset
# Per picture its size (height, width) and segments (class, left, top, right, bottom), edges on the
# network's grid of 4 pixels.
PICTURES = {
    21: ((64, 96), [(SKY, 0, 0, 96, 32), (BOX, 0, 32, 48, 64), (BAR, 48, 32, 96, 64)]),
    22: ((96, 64), [(SKY, 0, 0, 64, 48), (BOX, 0, 48, 64, 96)]),
}
# Logits inside and outside of a mask between which no pixel of a rectangle is lost to the resize.
INSIDE, OUTSIDE = 1.0, -0.625


class Answers(nn.Module):
    """In place of the head: what is to be predicted for the picture that is recognised."""

    def __init__(self, answers) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, features) -> DecoderOutput:
        height, width = (4 * side for side in features["res2"].shape[-2:])
        ((_, segments),) = [a for a in self.answers.values() if a[0] == (height, width)]
        count = len(segments)
        masks = torch.full((1, count + 1, height // 4, width // 4), OUTSIDE)
        classes = torch.full((count + 1,), 3)  # one more query that sees no object, everywhere
        masks[0, count] = 5.0
        for i, (category, left, top, right, bottom) in enumerate(segments):
            masks[0, i, top // 4 : bottom // 4, left // 4 : right // 4] = INSIDE
            classes[i] = category
        # Colour is the number of the query; fill (K_s = 2) is none of the first.
        colours = torch.arange(count + 1) % 5
        fills = torch.where(torch.arange(count + 1) == 0, 2, 1)
        return DecoderOutput(
            pred_logits=9.0 * F.one_hot(classes, 4)[None],
            pred_masks=masks,
            pred_subcategories={
                "colour": 9.0 * F.one_hot(colours, 5)[None],
                "fill": 9.0 * F.one_hot(fills, 3)[None],
            },
        )


@pytest.fixture
def dataset(tmp_path: Path):
    """Registers the categories for both evaluators; the inputs of the model."""
    names = [str(image_id) for image_id in PICTURES]
    records = [{"file_name": name, "sem_seg_file_name": name} for name in names]
    (tmp_path / "panoptic.json").write_text("{}", encoding="utf-8")
    things = {number: c for c, number in CATEGORIES.items() if c != SKY}
    with restored_datasets():
        DatasetCatalog.register(NAME, lambda: records)
        MetadataCatalog.get(NAME).set(
            stuff_classes=["box", "bar", "sky"],
            thing_dataset_id_to_contiguous_id=things,
            stuff_dataset_id_to_contiguous_id={**things, CATEGORIES[SKY]: SKY},
            panoptic_json=str(tmp_path / "panoptic.json"),
            panoptic_root=str(tmp_path),
            ignore_label=255,
        )
        yield [
            {
                "image": torch.zeros(3, height, width, dtype=torch.uint8),
                "height": height,
                "width": width,
                "image_id": image_id,
                "file_name": str(image_id),
            }
            for image_id, ((height, width), _) in PICTURES.items()
        ]


def model_with(answers, **keys) -> nn.Module:
    test = "MODEL.MASK_FORMER.TEST."
    model = tiny_model(tiny_cfg(opts={test + key: value for key, value in keys.items()})).eval()
    model.sem_seg_head = Answers(answers)
    return model


def painted(size: tuple[int, int], segments, values=None) -> np.ndarray:
    """(H, W), 0 outside of all segments; by default each has its class."""
    painting = np.zeros(size, np.int64)
    for number, (category, left, top, right, bottom) in enumerate(segments):
        painting[top:bottom, left:right] = category if values is None else values[number]
    return painting


@pytest.mark.parametrize("instances", [True, False])
def test_semantic_evaluation(dataset, instances):
    # Right in the first picture; in the second, the box is taken for a bar.
    answers = {**PICTURES, 22: ((96, 64), [(SKY, 0, 0, 64, 48), (BAR, 0, 48, 64, 96)])}
    model = model_with(answers, SEMANTIC_ON=True, INSTANCE_ON=instances)
    evaluator = SemSegEvaluator(
        NAME,
        distributed=False,
        sem_seg_loading_fn=lambda name, dtype: painted(*PICTURES[int(name)]).astype(dtype),
    )
    results = inference_on_dataset(model, [[image] for image in dataset], evaluator)["sem_seg"]
    # Pixels of box: 32 * 48 = 1536 right, of 1536 + 48 * 64 = 4608. Of bar: 1536 right, 4608
    # predicted. Sky: all.
    assert results["IoU-box"] == pytest.approx(100 / 3)
    assert results["IoU-bar"] == pytest.approx(100 / 3)
    assert results["IoU-sky"] == pytest.approx(100)
    # (6144 + 3072) of 12288.
    assert results["pACC"] == pytest.approx(75)


@pytest.fixture
def read_segments(monkeypatch) -> dict:
    """By image id what panopticapi is asked to evaluate: the ids of the pixels, and the segments.

    It stands in for that package, which detectron2's evaluator imports.
    """
    written = {}

    def pq_compute(gt_json_file, pred_json_file, *, gt_folder, pred_folder) -> dict:
        predictions = json.loads(Path(pred_json_file).read_text(encoding="utf-8"))
        for entry in predictions["annotations"]:
            rgb = np.asarray(Image.open(Path(pred_folder) / entry["file_name"])).astype(np.int64)
            written[entry["image_id"]] = rgb @ [1, 256, 65536], entry["segments_info"]
        nothing = dict.fromkeys(("pq", "sq", "rq", "n"), 0)
        return dict.fromkeys(("All", "Things", "Stuff"), nothing)

    package = types.ModuleType("panopticapi")
    package.utils = types.ModuleType("panopticapi.utils")
    package.evaluation = types.ModuleType("panopticapi.evaluation")
    # COCO's panoptic format: R + 256 G + 65536 B.
    package.utils.id2rgb = lambda ids: np.stack(
        [ids // 256**i % 256 for i in range(3)], axis=-1
    ).astype(np.uint8)
    package.evaluation.pq_compute = pq_compute
    for module in (package, package.utils, package.evaluation):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return written


def test_panoptic_evaluation(dataset, tmp_path, read_segments):
    # In the first picture three quarters of the box are found, in the second it is called a bar.
    answers = {
        21: ((64, 96), [(SKY, 0, 0, 96, 32), (BOX, 0, 32, 36, 64), (BAR, 48, 32, 96, 64)]),
        22: ((96, 64), [(SKY, 0, 0, 64, 48), (BAR, 0, 48, 64, 96)]),
    }
    model = model_with(answers, PANOPTIC_ON=True, STUFF_CLASSES=[SKY])
    evaluator = COCOPanopticEvaluator(NAME, output_dir=str(tmp_path / "out"))
    inference_on_dataset(model, [[image] for image in dataset], evaluator)
    for image_id, (size, answer) in answers.items():
        ids, segments = read_segments[image_id]
        np.testing.assert_array_equal(ids, painted(size, answer, values=[1, 2, 3]))
        assert [s["id"] for s in segments] == [1, 2, 3][: len(answer)]
        assert [s["category_id"] for s in segments] == [CATEGORIES[c] for c, *_ in answer]
        # Colour is the number of the query; fill is none of the first.
        assert [s["subcategories"] for s in segments] == [
            {"colour": 0, "fill": None},
            {"colour": 1, "fill": 1},
            {"colour": 2, "fill": 1},
        ][: len(answer)]
        assert all(0.6 < s["score"] < torch.tensor(INSIDE).sigmoid() for s in segments)


def test_outputs_are_what_is_asked_for(dataset):
    everything = model_with(PICTURES, SEMANTIC_ON=True, PANOPTIC_ON=True)
    with torch.no_grad():
        (output,) = everything([dataset[0]])
        (alone,) = model_with(PICTURES, PANOPTIC_ON=True, INSTANCE_ON=False)([dataset[0]])
    assert set(output) == {"instances", "sem_seg", "panoptic_seg"}
    assert set(alone) == {"panoptic_seg"}
    assert output["sem_seg"].shape == (3, 64, 96)
    panoptic, segments = output["panoptic_seg"]
    assert (panoptic.shape, panoptic.dtype) == ((64, 96), torch.int32)
    assert [s["isthing"] for s in segments] == [True] * 3
    # The three outputs are of the same queries.
    assert torch.equal(output["sem_seg"].argmax(0) == SKY, panoptic == 1)
    best = output["instances"].pred_masks[:3].flatten(1).sum(1).sort().values.tolist()
    assert best == [1536, 1536, 3072]


def test_pictures_of_different_sizes_in_one_batch(dataset):
    # Both are padded to 96 x 96, for which there is one answer.
    answers = {0: ((96, 96), [(SKY, 0, 0, 64, 48)])}
    model = model_with(answers, SEMANTIC_ON=True, PANOPTIC_ON=True)

    def repeated(features, head=model.sem_seg_head.forward):
        one = head(features)
        return DecoderOutput(
            one.pred_logits.repeat(2, 1, 1),
            one.pred_masks.repeat(2, 1, 1, 1),
            {name: logits.repeat(2, 1, 1) for name, logits in one.pred_subcategories.items()},
        )

    model.sem_seg_head.forward = repeated
    dataset[0]["height"], dataset[0]["width"] = 33, 48
    with torch.no_grad():
        outputs = model(dataset)
    for output, size in zip(outputs, [(33, 48), (96, 64)], strict=True):
        assert output["sem_seg"].shape[1:] == output["panoptic_seg"][0].shape == size
        assert output["instances"].pred_masks.shape[1:] == size
    # The answer is 48 rows and 64 columns of the padded 96 x 96. Of the first picture, 64 x 96
    # resized to 33 x 48, they are 48 / 64 of its height and 64 / 96 of its width.
    box = outputs[0]["panoptic_seg"][0] == 1
    assert box.any(1).sum() == round(33 * 48 / 64)
    assert box.any(0).sum() == 48 * 64 // 96
    assert (outputs[1]["panoptic_seg"][0] == 1).sum() == 48 * 64
