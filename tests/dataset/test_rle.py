"""COCO's run lengths are read as pycocotools reads them, and refused where it would not look."""

from __future__ import annotations

import numpy as np
import pycocotools.mask as mask_util
import pytest

from mask2former_mt.dataset.rle import (
    compressed,
    decode_rle,
    faults_of_counts,
    looks_compressed,
    sums_of_lengths,
)


def random_masks(count):
    rng = np.random.default_rng(0)
    for index in range(count):
        height, width = rng.integers(1, 40, 2)
        density = (0.0, 1.0, 0.02, 0.5)[index % 4]
        yield (rng.random((height, width)) < density).astype(np.uint8)


def test_masks_are_those_of_pycocotools():
    for mask in random_masks(200):
        rle = mask_util.encode(np.asfortranarray(mask))
        decoded = decode_rle(rle)
        assert decoded.dtype == bool
        np.testing.assert_array_equal(decoded, mask.astype(bool))


def test_masks_by_hand():
    # "hb0hb0" is 600, 600: 5 bits a character from the lowest, see test_split.
    assert decode_rle({"size": [30, 40], "counts": "hb0hb0"}).T.reshape(-1).tolist() == [
        *[False] * 600,
        *[True] * 600,
    ]
    # The fourth number is the difference to the second: "1" 1, "2" 2, "3" 3, "1" 1 + 2 = 3.
    mask = decode_rle({"size": [3, 3], "counts": "1231"})
    assert mask.T.reshape(-1).astype(int).tolist() == [0, 1, 1, 0, 0, 0, 1, 1, 1]
    # "O" is 31: five bits set, of which the fifth is the sign: -1. So 1, 2, 3, 2 - 1 = 1.
    mask = decode_rle({"size": [1, 7], "counts": b"123O"})
    assert mask[0].astype(int).tolist() == [0, 1, 1, 0, 0, 0, 1]


def test_runs_of_no_length_are_no_pixels():
    # Starts with 1; a run of 0 in the middle joins its neighbours: 0, 3, 0, 3, 6.
    mask = decode_rle({"size": [4, 3], "counts": [0, 3, 0, 3, 6]})
    assert mask.T.reshape(-1).tolist() == [True] * 6 + [False] * 6
    assert not decode_rle({"size": [2, 2], "counts": [4]}).any()
    assert not decode_rle({"size": [2, 2], "counts": [1, 0, 3]}).any()


def test_sums_of_many_texts_are_those_of_each():
    rles = [mask_util.encode(np.asfortranarray(mask)) for mask in random_masks(50)]
    texts = [rle["counts"].decode() for rle in rles]
    expected = [np.prod(rle["size"]) for rle in rles]
    assert sums_of_lengths(texts).tolist() == expected
    assert sums_of_lengths([]).tolist() == []
    # 1 + 2 + 3 + (1 + 2) + (1 + 3) = 13 in place of 9.
    assert sums_of_lengths(["12311", "1231"]).tolist() == [13, 9]
    # 1, 2, 3, 2 - 4 = -2, and 3 + 2 = 5: the sum is 9, and one of them is negative.
    assert sums_of_lengths(["1231", "123L2", "1231"]).tolist() == [9, -1, 9]


def test_the_damaged_of_many_are_told_by_position():
    texts = ["1231", "123L2", "o" * 30 + "0", "hb0hb0", "1231"]
    faults = dict(faults_of_counts([{"size": [3, 3], "counts": text} for text in texts]))
    assert sorted(faults) == [1, 2, 3]
    assert "must not be negative" in faults[1]
    assert "a run length of 31 characters" in faults[2]
    assert "width = 9, got 1200" in faults[3]
    assert list(faults_of_counts([])) == []


def test_lists_are_compressed_and_texts_stay():
    rle = compressed({"size": [3, 3], "counts": [1, 2, 3, 3]})
    assert rle == {"size": [3, 3], "counts": b"1231"}
    assert compressed({"size": (3, 3), "counts": "1231"}) == {"size": [3, 3], "counts": "1231"}


def test_a_text_cut_anywhere_is_refused():
    mask = np.zeros((40, 50), np.uint8)
    mask[3:37, 4:44] = 1
    mask[10:20, 10:20] = 0
    rle = mask_util.encode(np.asfortranarray(mask))
    for length in range(len(rle["counts"])):
        with pytest.raises(ValueError, match=r"compressed text|add up to"):
            decode_rle({**rle, "counts": rle["counts"][:length]})


@pytest.mark.parametrize(
    ("rle", "match"),
    [
        ({"size": [3, 3], "counts": "\u00e9"}, "compressed text"),
        ({"size": [3, 3], "counts": ""}, "compressed text"),
        ({"size": [3, 3], "counts": "1\n8"}, "compressed text"),
        ({"size": [3, 3], "counts": b"\xff"}, "compressed text"),
        ({"size": [3, 3], "counts": "o" * 30 + "0"}, "a run length of 31 characters"),
        # 1, 2, 3, 2 - 4 = -2, and 5 that make the sum 9.
        ({"size": [3, 3], "counts": "123L2"}, "must not be negative"),
        ({"size": [3, 3], "counts": [4, 4]}, "width = 9, got 8"),
        ({"size": [3, 3], "counts": [5, -1, 5]}, "from 0 to height . width = 9"),
        ({"size": [3, 3], "counts": [10**30]}, "from 0 to height . width = 9"),
        ({"size": [3, 3], "counts": [9.0]}, "a list of run lengths"),
        ({"size": [3, 3], "counts": None}, "a list of run lengths"),
        ({"size": [3, 3]}, "a list of run lengths"),
        ({"size": [3, -3], "counts": [9]}, "two integers from 1 to 65535"),
        ({"size": [3, 10**6], "counts": [9]}, "two integers from 1 to 65535"),
        ({"size": [True, 9], "counts": [9]}, "two integers"),
        ({"size": 9, "counts": [9]}, "two integers"),
    ],
)
def test_damage_is_named(rle, match):
    with pytest.raises(ValueError, match=match):
        decode_rle(rle)


def test_what_looks_compressed():
    assert looks_compressed("hb0hb0")
    assert not looks_compressed("hb0hb")
    assert not looks_compressed("")
    assert not looks_compressed(None)
