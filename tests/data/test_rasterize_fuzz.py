"""Whatever an annotation holds: a mask of the right shape, or an error that names the problem."""

from __future__ import annotations

import numpy as np
import pycocotools.mask as mask_util
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mask2former_mt.data.rasterize import SegmentationError, rasterize
from mask2former_mt.dataset.annotation import AnnotationReader
from mask2former_mt.dataset.conventions import Conventions
from mask2former_mt.dataset.document import read_header
from mask2former_mt.dataset.problems import ERROR
from mask2former_mt.dataset.rle import faults_of_counts

HEIGHT, WIDTH = 12, 17
SIZE = (HEIGHT, WIDTH)
fuzz = settings(
    max_examples=300,
    deadline=2000,  # no polygon of this size may take longer, whatever its coordinates
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

coordinates = st.one_of(
    st.floats(-3, 20),
    st.integers(-3, 20),
    st.sampled_from([0.5, 8.5, -0.0, 1e9, -1e9, 1e10, 1e300, 5e-324, float("nan"), float("inf")]),
)
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.integers(),
    st.dictionaries(st.text(), st.none()),
)
sound_polygons = st.lists(st.floats(-1, HEIGHT + 1), min_size=6, max_size=20).map(
    lambda p: p[: len(p) // 2 * 2]
)
polygons = st.one_of(
    sound_polygons,
    st.lists(coordinates, max_size=24),
    st.lists(coordinates, min_size=6, max_size=60).map(lambda p: p[: len(p) // 2 * 2]),
    st.lists(st.lists(coordinates, max_size=3), max_size=8),
    st.lists(st.one_of(coordinates, junk), max_size=10),
    arrays.arrays(np.float64, st.tuples(st.integers(0, 8), st.integers(1, 3))),
    junk,
)
sizes = st.one_of(
    st.just([HEIGHT, WIDTH]),
    st.just([WIDTH, HEIGHT]),
    st.lists(st.integers(-(10**12), 10**12), max_size=3),
    st.lists(st.one_of(junk, st.floats()), max_size=3),
    junk,
)


@st.composite
def compressed_texts(draw):
    """The text of a real mask, then cut, with characters exchanged, or with others appended."""
    bitmap = draw(arrays.arrays(np.uint8, SIZE, elements=st.integers(0, 1)))
    text = mask_util.encode(np.asfortranarray(bitmap))["counts"].decode()
    text = text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.characters(max_codepoint=300)) + text[at + 1 :]
    return text + draw(st.text("012oONL", max_size=20))


rles = st.fixed_dictionaries(
    {},
    optional={
        "size": sizes,
        "counts": st.one_of(
            compressed_texts(),
            compressed_texts().map(lambda text: text.encode("utf-8")),
            st.lists(st.integers(-5, HEIGHT * WIDTH), max_size=8),
            st.lists(st.integers(0, 2**70), max_size=4),
            st.lists(st.one_of(junk, st.floats()), max_size=4),
            st.binary(max_size=30),
            junk,
        ),
    },
)
bitmaps = st.one_of(
    arrays.arrays(bool, SIZE),
    arrays.arrays(np.uint8, SIZE, elements=st.sampled_from([0, 1, 2, 128, 255])),
    arrays.arrays(
        st.sampled_from([np.dtype(bool), np.dtype(np.uint8), np.dtype(np.float32)]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=20),
    ),
)
sound_rles = st.fixed_dictionaries(
    {
        "size": st.just([HEIGHT, WIDTH]),
        "counts": st.one_of(
            compressed_texts(),
            arrays.arrays(np.uint8, SIZE, elements=st.integers(0, 1)).map(
                lambda bitmap: mask_util.encode(np.asfortranarray(bitmap))["counts"].decode()
            ),
        ),
    }
)
sound_segmentations = st.one_of(st.lists(sound_polygons, min_size=1, max_size=3), sound_rles)
segmentations = st.one_of(sound_segmentations, st.lists(polygons, max_size=4), rles, bitmaps, junk)


@fuzz
@given(segmentation=segmentations)
def test_the_rasteriser_draws_or_names(segmentation):
    try:
        masks = rasterize([segmentation], size=SIZE)
    except SegmentationError as caught:
        error = caught
    else:
        assert masks.shape == (1, *SIZE)
        assert masks.dtype == bool
        # What is neither 0 nor 1 in memory would count as more than one pixel.
        assert masks.view(np.uint8).max() <= 1
        return
    assert error.index == 0
    assert len(error.reason) > 20


@fuzz
@given(
    corners=st.lists(
        st.tuples(st.floats(-40, 60), st.floats(-40, 60)), min_size=3, max_size=12, unique=True
    )
)
def test_no_mask_is_silently_empty_or_full(corners):
    points = np.array(corners)
    (mask,) = rasterize([[points]], size=SIZE)
    # Half a pixel away from every edge there is no doubt: the even-odd rule decides.
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside, near = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    for a, b in zip(points, np.roll(points, -1, axis=0), strict=True):
        crosses = (a[1] <= rows) != (b[1] <= rows)
        if crosses.any():
            at = a[0] + (rows - a[1]) * (b[0] - a[0]) / (b[1] - a[1])
            inside ^= crosses & (at < columns)
        along = (columns - a[0]) * (b - a)[0] + (rows - a[1]) * (b - a)[1]
        share = np.clip(along / max(float((b - a) @ (b - a)), 1e-12), 0, 1)
        dx, dy = a[0] + share * (b - a)[0] - columns, a[1] + share * (b - a)[1] - rows
        near |= np.hypot(dx, dy) < 0.5
    np.testing.assert_array_equal(mask[~near], inside[~near])


@fuzz
@given(bitmap=arrays.arrays(bool, SIZE), cut=st.integers(1, 5))
def test_a_shortened_rle_never_becomes_a_mask(bitmap, cut):
    text = mask_util.encode(np.asfortranarray(bitmap.view(np.uint8)))["counts"].decode()
    rle = {"size": list(SIZE), "counts": text}
    np.testing.assert_array_equal(rasterize([rle], size=SIZE)[0], bitmap)
    # A last run of no length may be missing: it is none.
    assume(len(text) > cut)
    with pytest.raises(SegmentationError, match=r"cut short|add up to"):
        rasterize([{**rle, "counts": text[:-cut]}], size=SIZE)


sound_entries = st.fixed_dictionaries(
    {"id": st.just(5), "category_id": st.just(1), "segmentation": sound_segmentations},
    optional={
        "bbox": st.sampled_from([[1, 1, 8, 8], [0.1, 0.1, 0.5, 0.5]]),
        "iscrowd": st.integers(0, 1),
        "subcategories": st.just({"style": "photo"}),
    },
)
mutations = st.fixed_dictionaries(
    {},
    optional={
        "segmentation": st.one_of(st.lists(polygons, max_size=3), rles, junk),
        "bbox": st.one_of(st.lists(coordinates, max_size=5), junk),
        "iscrowd": st.one_of(st.integers(-1, 2), junk),
        "subcategories": st.one_of(
            st.dictionaries(st.sampled_from(["style", "other"]), st.one_of(junk, st.just("photo"))),
            junk,
        ),
    },
)
entries = st.one_of(
    sound_entries, st.builds(lambda entry, other: {**entry, **other}, sound_entries, mutations)
)


@fuzz
@given(
    entry=entries,
    units=st.builds(
        Conventions,
        *[st.sampled_from(["pixel", "normalized"])] * 2,
        holes=st.sampled_from(["fill", "even-odd"]),
    ),
)
def test_what_the_reader_lets_pass_can_be_drawn(entry, units):
    header, faults = read_header(
        {
            "categories": [{"id": 1, "name": "cat"}],
            "subcategories": [{"name": "style", "values": ["photo", "cartoon"]}],
        }
    )
    assert faults == []
    # JSON knows no arrays.
    segmentation = entry["segmentation"]
    if isinstance(segmentation, list):
        assume(not any(isinstance(p, np.ndarray) for p in segmentation))
    annotation, faults = AnnotationReader(header, units).read(entry, HEIGHT, WIDTH)
    if any(fault.severity == ERROR for fault in faults):
        assert all(fault.message for fault in faults)
        return
    segmentation = annotation["segmentation"]
    # The reader checks the lengths of many RLEs at once.
    if isinstance(segmentation, dict) and list(faults_of_counts([segmentation])):
        return
    assert rasterize([segmentation], size=SIZE).shape == (1, *SIZE)
    assert len(annotation["bbox"]) == 4
    assert np.isfinite(annotation["bbox"]).all()
