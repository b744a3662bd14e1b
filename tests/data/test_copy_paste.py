"""Pasted objects bring pixels, masks and labels; what they cover loses its own."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from PIL import Image
from scenes_on_disk import SPEC, annotation, mapper_of, rle

from mask2former_mt.data.copy_paste import PasteTransform, layers_of
from mask2former_mt.data.layer_masks import Layer
from mask2former_mt.data.transforms import size_after, source_pixels
from mask2former_mt.structures import Subcategory, SubcategorySpec

# Left, top, right, bottom; grey level; class; labels.
MINE = [((4, 4, 24, 24), 40, 0, (0, 0)), ((30, 10, 60, 40), 60, 1, (0, 1))]
THEIRS = [((14, 14, 44, 24), 200, 3, (1, 2)), ((50, 30, 62, 46), 220, 4, (2, -1))]


def _mask(box, size) -> np.ndarray:
    x0, y0, x1, y1 = box
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def _record(path, objects, size=(48, 64), background=0, kind="p") -> dict:
    image = np.full((*size, 3), background, np.uint8)
    annotations = []
    for box, grey, category, labels in objects:
        x0, y0, x1, y1 = box
        image[y0:y1, x0:x1] = grey
        shape = [[x0, y0, x1, y0, x1, y1, x0, y1]] if kind == "p" else rle(_mask(box, size))
        annotations.append(annotation(shape, labels=labels, category=category, number=category))
    Image.fromarray(image).save(path)
    height, width = size
    return {
        "file_name": str(path),
        "height": height,
        "width": width,
        "image_id": path.stem,
        "annotations": annotations,
    }


@pytest.fixture(params=["p", "r"], ids=["polygons", "rle"])
def records(tmp_path, request) -> list[dict]:
    return [
        _record(tmp_path / "mine.png", MINE, kind=request.param),
        _record(tmp_path / "theirs.png", THEIRS, background=100, kind=request.param),
    ]


def _always(**fields) -> dict:
    return {"name": "copy_paste", "prob": 1.0, **fields}


def _visible_greys(sample: dict) -> dict[int, list[int]]:
    """Per class the grey levels that its mask covers."""
    instances = sample["instances"]
    return {
        category: sorted(set(sample["image"][0][mask].tolist()))
        for category, mask in zip(instances.gt_classes.tolist(), instances.gt_masks, strict=True)
    }


def test_labels_pixels_and_masks_come_along_and_cover(records):
    mapper = mapper_of([_always(max_instances=5)], records=records)
    greys = {category: [grey] for _, grey, category, _ in MINE + THEIRS}
    labels = {category: list(labels) for _, _, category, labels in MINE + THEIRS}
    seen = set()
    for draw in range(20):
        sample = mapper({**records[0], "draw": draw})
        instances = sample["instances"]
        classes = instances.gt_classes.tolist()
        assert _visible_greys(sample) == {c: greys[c] for c in classes}
        assert instances.gt_subcategories.tolist() == [labels[c] for c in classes]
        masks = dict(zip(classes, instances.gt_masks, strict=True))
        assert masks[0].sum() == 20 * 20 - (100 if 3 in masks else 0)
        # Between x 30 and 44, y 14 and 24 the third covers the second: 14 * 10 pixels;
        # the fourth covers it from 50 to 60 and 30 to 40.
        assert masks[1].sum() == 30 * 30 - (140 if 3 in masks else 0) - (100 if 4 in masks else 0)
        assert instances.gt_masks.int().sum(0).max() == 1
        seen.add(tuple(classes))
        # Nothing but the chosen objects comes over: not the other picture's background.
        assert not (sample["image"] == 100).any()
    # One or two of them; uniform numbers and choices: none is missing in 20 but by chance 1e-3.
    assert seen == {(0, 1, 3), (0, 1, 4), (0, 1, 3, 4)}


def test_the_most_and_the_probability_are_kept(records):
    some = mapper_of([_always(max_instances=1)], records=records)
    assert {len(some({**records[0], "draw": d})["instances"]) for d in range(10)} == {3}
    half = mapper_of([{"name": "copy_paste", "prob": 0.5, "max_instances": 1}], records=records)
    counts = [len(half({**records[0], "draw": d})["instances"]) for d in range(40)]
    # 20 expected of 40, standard deviation 3.2.
    assert 10 <= counts.count(3) <= 30
    assert set(counts) == {2, 3}
    never = mapper_of([{"name": "copy_paste", "prob": 0.0}], records=records)
    assert len(never({**records[0], "draw": 0})["instances"]) == 2


@pytest.mark.parametrize("after", ["flip", "rotate", "lsj", "crop"])
@pytest.mark.parametrize("before", ["flip", "lsj", "resize"])
def test_what_comes_before_and_after_moves_both(records, before, after):
    entries = {
        "flip": {"name": "flip", "prob": 1.0},
        "rotate": {"name": "rotate", "max_angle": 30, "prob": 1.0},
        "lsj": {"name": "lsj", "size": 64, "min_scale": 0.8, "max_scale": 1.6},
        "crop": {"name": "crop", "size": [40, 90]},
        "resize": {"name": "resize", "short_side": [50, 80]},
    }
    mapper = mapper_of([entries[before], _always(), entries[after]], records=records)
    pasted = checked = 0
    for draw in range(6):
        sample = mapper({**records[0], "draw": draw})
        grey = {category: level for _, level, category, _ in MINE + THEIRS}
        instances = sample["instances"]
        for category, mask in zip(instances.gt_classes.tolist(), instances.gt_masks, strict=True):
            inner = _eroded(mask.numpy())
            assert (np.abs(sample["image"][0].numpy()[inner] - float(grey[category])) <= 1).all()
            pasted += category in (3, 4)
            checked += inner.sum()
        assert instances.gt_masks.int().sum(0).max() <= 1
    assert pasted >= 3
    assert checked > 500


def test_each_object_is_mirrored_by_its_own_way(records):
    style = Subcategory("style", ("left", "right"), flip=(("left", "right"),))
    spec = SubcategorySpec((style, SPEC.subcategories[1]))
    flip = {"name": "flip", "prob": 0.5}
    mapper = mapper_of([flip, _always(), flip], records=records, spec=spec)
    first = {category: labels[0] for _, _, category, labels in MINE + THEIRS}
    ways = set()
    for draw in range(40):
        sample = mapper({**records[0], "draw": draw})
        steps = sample["transforms"].transforms
        (at,) = [i for i, step in enumerate(steps) if isinstance(step, PasteTransform)]
        flips = [
            [isinstance(step, T.HFlipTransform) for step in part]
            for part in (steps[:at], steps[at].layer.transforms.transforms, steps[at + 1 :])
        ]
        mine, theirs, last = map(sum, flips)
        instances = sample["instances"]
        for category, (label, other) in zip(
            instances.gt_classes.tolist(), instances.gt_subcategories.tolist(), strict=True
        ):
            # Once mirrored: 0 and 1 change places; 2, none here, stays; twice: all stay.
            is_mirrored = ((mine if category in (0, 1) else theirs) + last) % 2
            value = first[category]
            assert label == (1 - value if is_mirrored and value < 2 else value)
            assert other == {c: labels[1] for _, _, c, labels in MINE + THEIRS}[category]
        ways.add((mine, theirs, last))
    # Each of the three flips falls for itself: eight ways.
    assert len(ways) == 8


def _eroded(mask: np.ndarray) -> np.ndarray:
    """Without the four pixels along its edge and at the frame, which resampling twice blends."""
    height, width = mask.shape
    padded = np.pad(mask, 4)
    return np.all(
        [padded[dy : dy + height, dx : dx + width] for dy in range(9) for dx in range(9)], axis=0
    )


def test_a_segmentation_is_void_under_what_was_pasted(records):
    mapper = mapper_of([_always(max_instances=2), {"name": "flip", "prob": 1.0}], records=records)
    sample = mapper({**records[0], "draw": 1})
    transforms = pickle.loads(pickle.dumps(sample["transforms"]))
    (paste,) = [t for t in transforms.transforms if isinstance(t, PasteTransform)]
    sources = source_pixels(transforms, (48, 64))
    np.testing.assert_array_equal(sources == -1, paste.covered[:, ::-1])
    # Applied again it gives the same picture; it holds what it pasted, and no whole picture.
    image = np.asarray(Image.open(records[0]["file_name"]))
    again = transforms.apply_image(image)
    np.testing.assert_array_equal(again.transpose(2, 0, 1), sample["image"])
    assert size_after(paste, (48, 64)) == (48, 64)
    assert len(paste.pixels) == paste.covered.sum()


@pytest.mark.parametrize("size", [(20, 30), (90, 30), (90, 200)])
def test_a_picture_of_another_size_is_placed_or_cut(tmp_path, records, size):
    height, width = size
    box = (width // 4, height // 4, width * 3 // 4, height * 3 // 4)
    other = _record(tmp_path / "other.png", [(box, 210, 2, (1, 1))], size, 100)
    mapper = mapper_of([_always()], records=[records[0], other])
    places = set()
    for draw in range(12):
        sample = mapper({**records[0], "draw": draw})
        assert sample["image"].shape == (3, 48, 64)
        greys = _visible_greys(sample)
        # The crop may leave nothing of it; what is left is its own.
        assert greys.get(2, [210]) == [210]
        mask = sample["instances"].gt_masks[sample["instances"].gt_classes == 2]
        assert (sample["image"][0] == 210).sum() == mask.sum()
        places.add(tuple(mask.nonzero().flatten()[:3].tolist()))
    assert len(places) > 3


def test_the_covered_are_dropped_with_their_labels(tmp_path, records):
    large = _record(tmp_path / "large.png", [((0, 0, 64, 48), 250, 5, (1, 3))], kind="p")
    mapper = mapper_of([_always()], records=[large])
    instances = mapper({**records[0], "draw": 0})["instances"]
    assert instances.gt_classes.tolist() == [5]
    assert instances.gt_subcategories.tolist() == [[1, 3]]
    # A cover that leaves 300 of 400 and 760 of 900 pixels: see above.
    mapper = mapper_of([_always(max_instances=2)], records=records, min_visible=0.8)
    kept = {
        tuple(mapper({**records[0], "draw": d})["instances"].gt_classes.tolist()) for d in range(20)
    }
    assert kept == {(1, 3), (0, 1, 4), (3, 4)}  # 30 * 30 - 140 - 100 = 660 of 900 pixels is .73


def test_nothing_to_paste(tmp_path, records):
    empty = _record(tmp_path / "empty.png", [])
    crowd = _record(tmp_path / "crowd.png", THEIRS)
    for a in crowd["annotations"]:
        a["iscrowd"] = 1
    for others in ([records[0]], [empty], [crowd], [records[0], records[0]]):
        sample = mapper_of([_always()], records=others)({**records[0], "draw": 0})
        assert len(sample["instances"]) == 2
    with pytest.raises(
        ValueError, match="copy_paste needs the dataset's records; build the loader"
    ):
        mapper_of([_always()])({**records[0], "draw": 0})
    # Into a picture without objects something can be pasted.
    mapper = mapper_of([_always()], records=records[1:])
    assert len(mapper({**empty, "draw": 0})["instances"]) >= 1


def test_a_broken_donor_is_named(tmp_path, records):
    records[1]["annotations"][1]["segmentation"] = [[1, 2]]
    with pytest.raises(ValueError, match=r"theirs.png: annotation 4: .* at least 3 points"):
        mapper_of([_always()], records=records)({**records[0], "draw": 0})
    (tmp_path / "theirs.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"theirs.png cannot be read"):
        mapper_of([_always()], records=records)({**records[0], "draw": 0})


def test_layers_by_hand():
    def paste(number: int) -> PasteTransform:
        layer = Layer([{"id": number}], T.TransformList([T.HFlipTransform(4)]), (3, 4), "b")
        return PasteTransform(np.zeros((3, 4), bool), np.zeros((3, 4, 3), np.uint8), layer)

    crop, flip = T.CropTransform(0, 0, 4, 3), T.VFlipTransform(3)
    transforms = T.TransformList([crop, paste(1), flip, paste(2)])
    own, first, second = layers_of([{"id": 0}], transforms, (5, 6), "a")
    assert own.transforms.transforms == [crop, flip]
    assert [type(t) for t in first.transforms.transforms] == [T.HFlipTransform, T.VFlipTransform]
    assert [type(t) for t in second.transforms.transforms] == [T.HFlipTransform]
    assert (own.source_size, first.source_size) == ((5, 6), (3, 4))


def test_a_picture_of_another_size_than_the_cover_is_refused():
    layer = Layer([], T.TransformList([]), (3, 4), "b")
    paste = PasteTransform(np.ones((3, 4), bool), np.zeros((3, 4, 3), np.uint8), layer)
    with pytest.raises(ValueError, match=r"must be \(3, 4\) \(height, width\), got \(4, 3, 3\)"):
        paste.apply_image(np.zeros((4, 3, 3), np.uint8))


def test_the_dataset_stays_as_it_is(records):
    before = pickle.dumps(records)
    mapper = mapper_of([{"name": "flip", "prob": 1.0}, _always()], records=records)
    first, second = (mapper({**records[0], "draw": 4}) for _ in range(2))
    assert pickle.dumps(records) == before
    assert torch.equal(first["image"], second["image"])
    assert torch.equal(first["instances"].gt_masks, second["instances"].gt_masks)
    assert first["instances"].gt_subcategories.shape[1] == len(SPEC)
