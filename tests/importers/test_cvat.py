"""CVAT's XML: the round trip, masks and ellipses, attributes, and every refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from importer_scenes import (
    LEFT,
    MISSING,
    RIGHT,
    Case,
    Thing,
    check_masks_and_classes,
    views,
    write_cvat,
)

SQUARE_SHAPE = '<polygon label="dog" points="4,10;24,10;24,30;4,30"/>'


@pytest.fixture
def cvat(tmp_path):
    return Case("cvat", tmp_path / "out", write_cvat(tmp_path / "in", views()))


def set_shapes(case: Case, *shapes: str, meta: str = "", image: str = "") -> Path:
    """Gives the one picture of validation, v.png of 64x48, these shapes."""
    image = image or '<image name="v.png" width="64" height="48">'
    text = f"<annotations>{meta}{image}{''.join(shapes)}</image></annotations>"
    case.inputs["val"].write_text(text)
    return case.inputs["val"]


def test_the_scene_comes_back(tmp_path):
    scene = views()
    scene["val"][0].things.append(Thing("cat", [LEFT, RIGHT], "red", MISSING))
    case = Case("cvat", tmp_path / "out", write_cvat(tmp_path / "in", scene))
    assert case.run().notes == []
    check_masks_and_classes(case.load(), scene)
    assert case.labels() == [
        {"colour": "red", "occluded": "yes"},
        {"colour": "unknown", "occluded": "no"},
        {"colour": "blue", "occluded": "no"},
        {"colour": "blue", "occluded": "no"},
        {"colour": "red", "occluded": "no"},
    ]


def test_a_mask_goes_row_by_row(cvat):
    # A rectangle 4 wide and 3 high at (10, 20): 3 of background, 4 of mask, 5 of background.
    set_shapes(cvat, '<mask label="dog" rle="3, 4, 5" left="10" top="20" width="4" height="3"/>')
    cvat.run()
    ((_, mask, _),) = cvat.load()["val"]["v.png"]
    assert np.argwhere(mask).tolist() == [[20, 13], [21, 10], [21, 11], [21, 12]]


def test_an_ellipse_is_turned_clockwise(cvat):
    set_shapes(cvat, '<ellipse label="dog" cx="32" cy="24" rx="20" ry="5" rotation="90.0"/>')
    cvat.run()
    ((_, mask, _),) = cvat.load()["val"]["v.png"]
    # Radii 20 along y and 5 along x: pi * 20 * 5 = 314 pixels.
    ys, xs = np.nonzero(mask)
    assert (np.ptp(ys) + 1, np.ptp(xs) + 1) == (40, 10)
    assert mask.sum() == pytest.approx(314, abs=4)


def test_what_attributes_are(cvat):
    attribute = "<attribute><name>{}</name><input_type>{}</input_type></attribute>"
    attributes = attribute.format("grade", "number") + attribute.format("broken", "checkbox")
    meta = f"<meta><label><name>dog</name><attributes>{attributes}</attributes></label></meta>"
    values = '<attribute name="grade">2</attribute><attribute name="broken">true</attribute>'
    shape = SQUARE_SHAPE.replace("/>", f">{values}</polygon>")
    set_shapes(cvat, shape, meta=meta)
    assert any("'grade' is left out: it holds numbers" in note for note in cvat.run().notes)
    cvat.run(subcategories=("grade", "broken"))
    assert cvat.labels()[-1] == {"grade": "2", "broken": "yes"}
    assert cvat.run(subcategories=("broken",)).spec.to_json()[0]["values"] == ["no", "yes"]


def test_tags_are_named_or_given_to_the_objects(cvat):
    tag = '<tag label="outside"><attribute name="weather">sunny</attribute></tag>'
    set_shapes(cvat, SQUARE_SHAPE, tag)
    (note,) = cvat.run().notes
    assert note.endswith("{'outside': [True], 'weather': ['sunny']}")
    cvat.run(picture_attributes=True, subcategories=("outside", "weather"))
    assert cvat.labels()[-1] == {"outside": "yes", "weather": "sunny"}


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ('<box label="dog" xtl="1" ytl="1" xbr="9" ybr="9"/>', "a box has no outline"),
        ('<cuboid label="dog"/>', "a cuboid has no outline"),
        ('<polygon label="dog" points="1,1;9,9"/>', "at least 3 points, got 2"),
        ('<polygon label="dog" points="1,1;9,9;x,3"/>', "'points' must be a number, got 'x'"),
        ('<polygon label="dog" points="1 1 9"/>', "'points' must be x,y;x,y;..., got '1 1 9'"),
        ('<polygon label="dog" points="1,1;90,9;1,9"/>', "must lie inside the image"),
        ('<ellipse label="dog" cx="1" cy="1" rx="0" ry="1"/>', "radii must be positive"),
        ('<ellipse label="dog" cx="1"/>', "'cy' must be a number, got ''"),
        ('<mask label="dog" left="1"/>', "'top' must be a whole number of pixels, got ''"),
        (
            '<mask label="dog" rle="9" left="60" top="0" width="5" height="3"/>',
            r"inside the picture of 64x48, got 5x3 at \(60, 0\)",
        ),
        (
            '<mask label="dog" rle="9" left="0" top="0" width="5" height="3"/>',
            r"must add up to width \* height = 15, got 9",
        ),
        (
            '<mask label="dog" rle="-9" left="0" top="0" width="5" height="3"/>',
            "must be run lengths, got '-9'",
        ),
    ],
)
def test_a_shape_without_a_mask(cvat, shape, match):
    set_shapes(cvat, SQUARE_SHAPE, shape)
    cvat.refuses(rf"image 'v.png', \w+ 1: .*{match}.*--unusable skip")
    cvat.skips_unusable()


def test_a_broken_file_is_named(cvat):
    set_shapes(cvat, SQUARE_SHAPE.replace("dog", " "))
    cvat.refuses("polygon 0: it has no label")
    set_shapes(cvat, image='<image name="w.png" width="64" height="48">')
    cvat.refuses("image 'w.png': the picture '.*w.png' is in none of .*--images")
    set_shapes(cvat, image='<image name="v.png" width="48" height="64">')
    cvat.refuses("'height' must be the picture's, got 64, .* is 64x48")
    set_shapes(cvat, "</image>", '<image name="v.png" width="64" height="48">')
    cvat.refuses("v.png is annotated twice")
    file = set_shapes(cvat, "<x>")
    cvat.refuses("is not valid XML: mismatched tag")
    file.write_text("<annotation/>")
    cvat.refuses("must be CVAT's XML, <annotations>, got <annotation>")
    file.write_text("<annotations><track/></annotations>")
    cvat.refuses("is 'CVAT for video'; export 'CVAT for images'")
    file.write_bytes(b'<?xml version="1.0" encoding="klingon"?><annotations/>')
    cvat.refuses("is not valid XML")
    file.unlink()
    cvat.refuses("does not exist, or is no file")
