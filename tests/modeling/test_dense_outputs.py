"""detectron2's semantic and panoptic evaluators on what the model predicts for a small dataset."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import panoptic_quality
import pytest
import torch
import torch.nn.functional as F
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOPanopticEvaluator, SemSegEvaluator, inference_on_dataset
from tiny import tiny_cfg, tiny_model
from torch import nn

from mask2former_mt.structures import DecoderOutput

NAME = "dense_outputs_val"
BOX, BAR, SKY = range(3)
CATEGORIES = {BOX: 5, BAR: 7, SKY: 11}  # of the dataset
NAMES = ("box", "bar", "sky")
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
    """Pictures, semantic and panoptic ground truth on disk, registered; the inputs of the model."""
    entries, inputs, records = [], [], []
    for image_id, ((height, width), segments) in PICTURES.items():
        ids, classes = np.zeros((height, width), np.int64), np.zeros((height, width), np.uint8)
        infos = []
        for number, (category, left, top, right, bottom) in enumerate(segments, start=300):
            ids[top:bottom, left:right] = number
            classes[top:bottom, left:right] = category
            infos.append({"id": number, "category_id": CATEGORIES[category], "iscrowd": 0})
            infos[-1]["area"] = (right - left) * (bottom - top)
        image, panoptic, semantic = (
            tmp_path / folder / f"{image_id}.png" for folder in ("images", "panoptic", "semantic")
        )
        for file, picture in (
            (image, 60 * np.repeat(classes[..., None], 3, axis=2)),
            (panoptic, panoptic_quality.id2rgb(ids)[..., ::-1]),
            (semantic, classes),
        ):
            file.parent.mkdir(exist_ok=True)
            assert cv2.imwrite(str(file), picture)
        entries.append({"image_id": image_id, "file_name": panoptic.name, "segments_info": infos})
        records.append({"file_name": str(image), "sem_seg_file_name": str(semantic)})
        pixels = torch.from_numpy(cv2.imread(str(image))).permute(2, 0, 1).contiguous()
        inputs.append({"image": pixels, "height": height, "width": width, "image_id": image_id})
        inputs[-1]["file_name"] = str(image)
    truth = tmp_path / "panoptic.json"
    document = {
        "images": [{"id": image_id, "file_name": f"{image_id}.png"} for image_id in PICTURES],
        "annotations": entries,
        "categories": [
            {"id": number, "name": NAMES[c], "isthing": int(c != SKY)}
            for c, number in CATEGORIES.items()
        ],
    }
    truth.write_text(json.dumps(document), encoding="utf-8")
    DatasetCatalog.register(NAME, lambda: records)
    ids = {number: c for c, number in CATEGORIES.items()}
    MetadataCatalog.get(NAME).set(
        stuff_classes=list(NAMES),
        thing_dataset_id_to_contiguous_id={n: c for n, c in ids.items() if c != SKY},
        stuff_dataset_id_to_contiguous_id=ids,
        panoptic_json=str(truth),
        panoptic_root=str(tmp_path / "panoptic"),
        ignore_label=255,
    )
    yield inputs
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def model_with(answers, **keys) -> nn.Module:
    test = "MODEL.MASK_FORMER.TEST."
    model = tiny_model(tiny_cfg(opts={test + key: value for key, value in keys.items()})).eval()
    model.sem_seg_head = Answers(answers)
    return model


def read_classes(file: str, dtype: type) -> np.ndarray:
    return cv2.imread(file, cv2.IMREAD_UNCHANGED).astype(dtype)


@pytest.mark.parametrize("instances", [True, False])
def test_semantic_evaluation(dataset, instances):
    # Right in the first picture; in the second, the box is taken for a bar.
    answers = {**PICTURES, 22: ((96, 64), [(SKY, 0, 0, 64, 48), (BAR, 0, 48, 64, 96)])}
    model = model_with(answers, SEMANTIC_ON=True, INSTANCE_ON=instances)
    # detectron2's own reader asks NumPy 2 for what that refuses.
    evaluator = SemSegEvaluator(NAME, distributed=False, sem_seg_loading_fn=read_classes)
    results = inference_on_dataset(model, [[image] for image in dataset], evaluator)["sem_seg"]
    # Pixels of box: 32 * 48 = 1536 right, of 1536 + 48 * 64 = 4608. Of bar: 1536 right, 4608
    # predicted. Sky: all.
    assert results["IoU-box"] == pytest.approx(100 / 3)
    assert results["IoU-bar"] == pytest.approx(100 / 3)
    assert results["IoU-sky"] == pytest.approx(100)
    # (6144 + 3072) of 12288.
    assert results["pACC"] == pytest.approx(75)


@pytest.mark.parametrize("quality", ["panopticapi", "formula"])
def test_panoptic_evaluation(dataset, tmp_path, monkeypatch, quality):
    if quality == "panopticapi":
        pytest.importorskip("panopticapi")
    else:
        panoptic_quality.install(monkeypatch)
    # In the first picture three quarters of the box are found, in the second it is called a bar.
    answers = {
        21: ((64, 96), [(SKY, 0, 0, 96, 32), (BOX, 0, 32, 36, 64), (BAR, 48, 32, 96, 64)]),
        22: ((96, 64), [(SKY, 0, 0, 64, 48), (BAR, 0, 48, 64, 96)]),
    }
    model = model_with(answers, PANOPTIC_ON=True, STUFF_CLASSES=[SKY])
    evaluator = COCOPanopticEvaluator(NAME, output_dir=str(tmp_path / "out"))
    results = inference_on_dataset(model, [[image] for image in dataset], evaluator)
    results = results["panoptic_seg"]
    # Box: IoU .75, and one missed: .75 / (1 + .5) = .5. Bar: IoU 1, and one too many:
    # 1 / (1 + .5) = .66667. Sky: twice 1.
    assert results["PQ_th"] == pytest.approx(100 * (0.5 + 2 / 3) / 2)
    assert results["PQ_st"] == pytest.approx(100)
    assert results["PQ"] == pytest.approx(100 * (0.5 + 2 / 3 + 1) / 3)
    assert results["SQ"] == pytest.approx(100 * (0.75 + 1 + 1) / 3)
    # What the evaluator wrote has the labels and scores beside what it needs.
    written = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    segments = written["annotations"][0]["segments_info"]
    assert [s["category_id"] for s in segments] == [11, 5, 7]
    assert [s["subcategories"] for s in segments] == [
        {"colour": 0, "fill": None},
        {"colour": 1, "fill": 1},
        {"colour": 2, "fill": 1},
    ]
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
