"""What the overlays of a run show, and at which size."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.predict.overlays import OverlayDrawer
from mask2former_mt.structures import Subcategory, SubcategorySpec

FILE, VIDEO = Path("a.png"), Path("a.mp4")
SPEC = SubcategorySpec((Subcategory("ink", ("black", "red")),))
NAMED = SimpleNamespace(category_ids=[1], class_names=["digit"], spec=SPEC)
IMAGE = np.full((200, 300, 3), 128, dtype=np.uint8)
SQUARES = [(x, y) for x in range(0, 300, 25) for y in range(0, 200, 25)]  # 96 of them


def annotation(x: int, y: int) -> dict:
    square = [x, y, x + 20, y, x + 20, y + 20, x, y + 20]
    return {"segmentation": [square], "category_id": 0, "subcategories": [1]}


def result(x: int, y: int) -> dict:
    mask = np.zeros((200, 300), dtype=np.uint8, order="F")
    mask[y : y + 20, x : x + 20] = 1
    rle = mask_util.encode(mask)
    return {
        "category_id": 1,
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
        "score": 0.5,
        "subcategories": {"ink": {"value": "red", "score": 0.5}},
    }


def drawer(annotations: list[dict] | None, **overrides) -> OverlayDrawer:
    annotated = None if annotations is None else {FILE: {"annotations": annotations}}
    arguments = {"only_disagreements": False, "max_side": 0, **overrides}
    return OverlayDrawer(NAMED, annotated, **arguments)


def test_both_sides_are_of_one_size():
    annotations, results = [annotation(*at) for at in SQUARES], [result(0, 0)]
    few = drawer([annotation(0, 0)]).draw(FILE, IMAGE, results)
    # Two of 512 x 768, three gaps of 8, and a title of 36.
    assert few.shape == (512 + 36 + 16, 2 * 768 + 24, 3)
    for truth, predicted in ((annotations, results), ([], [result(*at) for at in SQUARES])):
        picture = drawer(truth).draw(FILE, IMAGE, predicted)
        left, right = picture[44:-8, 8 : picture.shape[1] // 2 - 4], picture[44:-8]
        assert picture.shape[1] > few.shape[1]
        # Nothing of the sheet's dark ground is left beside either picture's lower corners.
        for corner in (left[-1, 0], left[-1, -1], right[-1, -9]):
            assert tuple(corner) != (32, 32, 32)


def test_frames_of_a_video_are_of_one_size():
    drawn = [
        drawer(None).draw(VIDEO, IMAGE, [result(*at) for at in SQUARES[:count]]).shape
        for count in (0, 96)
    ]
    assert drawn == [(512, 768, 3)] * 2
    assert drawer(None).draw(FILE, IMAGE, [result(*at) for at in SQUARES]).shape[0] > 512


def test_own_size_of_a_contact_sheet():
    assert drawer(None).draw(FILE, IMAGE, [], max_side=150).shape == (100, 150, 3)


def test_only_disagreements_are_worth_showing():
    line = {"height": 200, "width": 300, "annotations": [result(0, 0)]}
    assert drawer([annotation(0, 0)]).is_worth_showing(FILE, line)
    only = {"only_disagreements": True}
    assert not drawer([annotation(0, 0)], **only).is_worth_showing(FILE, line)
    assert drawer([annotation(50, 0)], **only).is_worth_showing(FILE, line)
