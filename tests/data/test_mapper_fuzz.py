"""Whatever stands in an annotation or a file: a valid sample, or an error that names it."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scenes_on_disk import (
    HEIGHT,
    WIDTH,
    flat,
    inside,
    mapper_of,
    record_of,
    rle,
    write_coordinates,
)

from mask2former_mt.data.integrity import check_sample

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-200, 300),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=8),
        st.dictionaries(st.sampled_from(["size", "counts", "x"]), inner, max_size=3),
    ),
    max_leaves=12,
)
POLYGONS = st.lists(st.lists(st.one_of(st.floats(-300, 400), NUMBERS), max_size=12), max_size=3)
RLES = st.fixed_dictionaries(
    {
        "size": st.one_of(st.just([HEIGHT, WIDTH]), st.lists(st.integers(-3, 200), max_size=3)),
        "counts": st.one_of(
            st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30),
            st.lists(st.integers(-5, HEIGHT * WIDTH), max_size=6),
            st.just([40, HEIGHT * WIDTH - 40]),
        ),
    }
)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return record_of(write_coordinates(tmp_path_factory.mktemp("fuzz") / "xy.png"), kinds="prp")


@pytest.fixture(scope="module")
def mapper(record):
    entries = [
        {"name": "flip"},
        {"name": "lsj", "size": 96, "min_scale": 0.3, "max_scale": 1.5},
        {"name": "rotate", "max_angle": 20},
    ]
    return mapper_of(entries, min_visible=0.1)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    which=st.integers(0, 2),
    change=st.one_of(
        st.tuples(st.just("segmentation"), st.one_of(JSON, POLYGONS, RLES)),
        st.tuples(st.sampled_from(["iscrowd", "bbox", "id"]), JSON),
    ),
    draw=st.integers(0, 50),
)
def test_every_annotation_is_mapped_or_named(record, mapper, which, change, draw):
    key, value = change
    mutated = copy.deepcopy(record)
    mutated["annotations"][which][key] = value
    sample, message = None, ""
    try:
        sample = mapper({**mutated, "draw": draw})
    except ValueError as error:
        message = str(error)
    if sample is None:
        assert "xy.png" in message
        assert f"annotation {mutated['annotations'][which]['id']}" in message
        return
    instances = sample["instances"]
    assert instances.gt_masks.dtype == torch.bool
    assert instances.gt_masks.flatten(1).any(1).all()
    assert len(instances) <= 3
    assert ((instances.gt_subcategories >= -1) & (instances.gt_subcategories <= 3)).all()


PICTURES = ("png", "jpg", "bmp", "gif", "webp", "tif")


@pytest.fixture(scope="module")
def pictures(record, tmp_path_factory) -> dict[str, bytes]:
    """The record's picture in each format."""
    folder = tmp_path_factory.mktemp("formats")
    image = Image.open(record["file_name"])
    for suffix in PICTURES:
        image.save(folder / f"xy.{suffix}")
    return {suffix: (folder / f"xy.{suffix}").read_bytes() for suffix in PICTURES}


@st.composite
def damages(draw) -> list[tuple]:
    """Cuts, bytes that are written over or put in, at shares of the file's length."""
    place = st.one_of(st.floats(0, 1), st.floats(0, 0.05))
    return draw(
        st.lists(
            st.one_of(
                st.tuples(st.just("cut"), place),
                st.tuples(st.just("write"), place, st.binary(min_size=1, max_size=6)),
                st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=6)),
                st.tuples(st.just("remove"), place, st.integers(1, 40)),
            ),
            max_size=3,
        )
    )


def damaged(content: bytes, changes: list[tuple]) -> bytes:
    for kind, share, *details in changes:
        at = int(share * len(content))
        if kind == "cut":
            content = content[:at]
        elif kind == "write":
            content = content[:at] + details[0] + content[at + len(details[0]) :]
        elif kind == "insert":
            content = content[:at] + details[0] + content[at:]
        else:
            content = content[:at] + content[at + details[0] :]
    return content


@pytest.mark.filterwarnings("ignore")  # what Pillow thinks of broken metadata
@settings(max_examples=250, deadline=timedelta(seconds=10), derandomize=True)
@given(suffix=st.sampled_from(PICTURES), changes=damages(), draw=st.integers(0, 20))
def test_every_picture_is_mapped_or_named(record, mapper, pictures, suffix, changes, draw):
    path = Path(record["file_name"]).with_name(f"damaged.{suffix}")
    path.write_bytes(damaged(pictures[suffix], changes))
    sample, message = None, ""
    try:
        sample = mapper({**record, "file_name": str(path), "draw": draw})
    except ValueError as error:
        message = str(error)
    if sample is None:
        assert changes
        assert str(path) in message
        assert "cannot be read" in message or "must be 150x100" in message
        return
    # The mapper has checked the sample; here once more, with nothing taken on trust.
    sample["areas"] = sample["instances"].gt_masks.flatten(1).sum(1)
    check_sample(sample, num_subcategories=2)


RECORD_CHANGES = st.one_of(
    st.tuples(st.sampled_from(["height", "width"]), st.integers(-5, 400)),
    st.tuples(st.just("file_name"), st.sampled_from(["", "nowhere.png", "a\0b.png", "."])),
)


@settings(max_examples=60, deadline=timedelta(seconds=10), derandomize=True)
@given(change=RECORD_CHANGES)
def test_every_record_is_mapped_or_named(record, mapper, change):
    key, value = change
    changed = {**record, key: value, "draw": 1}
    if record[key] == value:
        check_sample(mapper(changed), num_subcategories=2)
        return
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        mapper(changed)
    assert changed["file_name"] in str(caught.value)


POINTS = st.lists(
    st.tuples(st.floats(-2, WIDTH + 2), st.floats(-2, HEIGHT + 2)), min_size=3, max_size=9
)


@settings(max_examples=150, deadline=timedelta(seconds=10), derandomize=True)
@given(points=POINTS, which=st.integers(0, 2), as_rle=st.booleans())
def test_no_object_becomes_an_empty_mask_in_silence(record, points, which, as_rle):
    mutated = copy.deepcopy(record)
    # What lies beyond the picture by rounding is moved to its edge.
    points = [(min(max(x, 0), WIDTH), min(max(y, 0), HEIGHT)) for x, y in points]
    truth = inside(points)
    segmentation = rle(truth) if as_rle else [flat(points)]
    mutated["annotations"][which]["segmentation"] = segmentation
    sample = mapper_of([])({**mutated, "draw": 0})
    instances = sample["instances"]
    # The others are there in any case, and in order.
    kept = instances.gt_classes.tolist()
    assert kept == [i for i in range(3) if i != which or i in kept]
    line = np.zeros((HEIGHT + 1, WIDTH + 1), np.uint8)
    if not as_rle:
        cv2.polylines(line, [np.array(points).astype(np.int32)], isClosed=True, color=1)
    # Along an outline rounding decides.
    sure = cv2.dilate(line, np.ones((3, 3), np.uint8))[:HEIGHT, :WIDTH] == 0
    mask = np.zeros((HEIGHT, WIDTH), bool)
    if which in kept:
        mask = instances.gt_masks[kept.index(which)].numpy()
    np.testing.assert_array_equal(mask & sure, truth & sure)
