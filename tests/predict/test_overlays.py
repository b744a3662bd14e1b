"""Names of overlays, what they show, and their sizes."""

from pathlib import Path

import pytest
from visualization_tools import box_masks, grey
from visualization_tools import result as labelled_result

from mask2former_mt.predict.overlays import OverlayDrawer, OverlayOptions, overlay_names
from mask2former_mt.structures import Subcategory, SubcategorySpec
from mask2former_mt.visualization import LabelNames

FILE, VIDEO = Path("a.png"), Path("a.mp4")
SPEC = SubcategorySpec((Subcategory("ink", ("black", "red")),))
NAMES = LabelNames(["digit"], SPEC, [1])
IMAGE = grey(200, 300)
SQUARES = [(x, y) for x in range(0, 300, 25) for y in range(0, 200, 25)]  # 96 of them


def annotation(x: int, y: int) -> dict:
    square = [x, y, x + 20, y, x + 20, y + 20, x, y + 20]
    return {"segmentation": [square], "category_id": 0, "subcategories": [1]}


def result(x: int, y: int) -> dict:
    (mask,) = box_masks(200, 300, [(x, y, x + 20, y + 20)])
    return labelled_result(mask, 1, 0.5, ink=("red", 0.5))


def drawer(
    annotations: list[dict] | None, *, only_disagreements: bool = False, judged: set | None = None
) -> OverlayDrawer:
    annotated = None if annotations is None else {FILE: {"annotations": annotations}}
    options = OverlayOptions("a dataset", only_disagreements, max_side=0)
    return OverlayDrawer(NAMES, options, annotated, judged)


@pytest.mark.parametrize(
    ("files", "before", "names"),
    [
        # The second a must not take a_2, which another file has from its stem.
        (
            ["x/a.jpg", "y/a.png", "y/a_2.png", "z/A.png", "z/b.png"],
            {},
            ["a.png", "a_3.png", "a_2.png", "A_4.png", "b.png"],
        ),
        (["x/a.jpg", "x/a.mp4", "y/a.AVI"], {}, ["a.png", "a_2.mp4", "a_3.mp4"]),
        (
            ["/x/a.jpg", "/y/a.jpg", "/z/b.jpg"],
            {"/y/a.jpg": "a.png", "/gone/b.jpg": "b.png"},
            ["a_2.png", "a.png", "b_2.png"],
        ),
    ],
    ids=["of one stem", "of videos", "given before"],
)
def test_overlay_names(files, before, names):
    assert overlay_names([Path(file) for file in files], before) == names


def test_overlay_names_are_short_enough_for_any_disk():
    files = [Path("x") / ("果" * 80 + ".png"), Path("y") / ("果" * 80 + ".png")]
    first, second = overlay_names(files, {})
    assert first != second
    assert max(len(name.encode()) for name in (first, second)) <= 210


def test_disagreements_need_a_ground_truth():
    with pytest.raises(ValueError, match="need a ground truth"):
        OverlayOptions(only_disagreements=True)


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
    for x, shown in ((0, False), (50, True)):
        only_wrong = drawer([annotation(x, 0)], only_disagreements=True)
        assert only_wrong.is_worth_showing(FILE, line) == shown


@pytest.mark.parametrize(("judged", "shown"), [({1}, True), (set(), False)])
def test_predictions_of_classes_that_the_ground_truth_does_not_list_are_not_spurious(judged, shown):
    line = {"height": 200, "width": 300, "annotations": [result(0, 0)]}
    empty = drawer([], only_disagreements=True, judged=judged)
    assert empty.is_worth_showing(FILE, line) == shown
