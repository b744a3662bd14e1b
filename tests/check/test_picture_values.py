"""Pictures whose file is sound and whose pixels are not what was meant."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from dataset_to_check import ERROR, HEIGHT, WARNING, WIDTH, check, kinds_of, the_one
from PIL import Image

from mask2former_mt.check.depth_advice import used_range
from mask2former_mt.check.statistics import SplitStatistics
from mask2former_mt.dataset.bit_depth import FLOAT, Depth

SIZE = (HEIGHT, WIDTH)


def noise(high: float, dtype: type, low: float = 0) -> np.ndarray:
    """Samples that reach from `low` to `high`."""
    samples = np.random.default_rng(0).uniform(low, high, SIZE).astype(dtype)
    samples[0, :2] = low, high
    return samples


def put(dataset, samples: np.ndarray, name: str = "a.tif") -> None:
    """Puts samples in the place of the first training picture."""
    assert cv2.imwrite(str(dataset.image("train", name)), samples)
    dataset.train["images"][0]["file_name"] = name


def suggested(result) -> list[float] | None:
    settings = {k: v for s in result.suggestions for k, v in s.settings.items()}
    return settings.get("INPUT.DEPTH_RANGE")


def test_12_bits_in_16_are_dark_and_their_range_is_suggested(dataset):
    put(dataset, noise(4095, np.uint16), "a.png")
    result = check(dataset)
    # 4095 of 65535 is a sixteenth: 255 / 16 = 15.9 steps, 17 levels.
    problem = the_one(result, "unused-depth")
    assert problem.severity == WARNING
    assert "samples from 0 to 4095, and are read as 0 to 65535: 17 of 256 levels" in problem.text
    assert problem.text.endswith("set INPUT.DEPTH_RANGE to [0, 4095]")
    assert suggested(result) == [0, 4095]
    assert check(dataset, depth_range=[0, 4095]).problems == []
    # Half of it: what lies above 2047 is white, which is half of the samples.
    clipped = check(dataset, depth_range=[0, 2047])
    assert "what lies outside is clipped" in the_one(clipped, "unused-depth").text


@pytest.mark.parametrize(
    ("samples", "depth_range"),
    [
        (noise(1, np.float32), [0, 1]),
        (noise(3071, np.float32, -1024), [-1100, 3100]),
        (noise(3000, np.int32), [0, 4095]),
    ],
)
def test_samples_without_a_range_are_refused_until_one_is_set(dataset, samples, depth_range):
    put(dataset, samples)
    result = check(dataset)
    assert kinds_of(result) == [(ERROR, "needs-depth-range")]
    assert "training refuses without a depth range" in the_one(result, "needs-depth-range").text
    assert suggested(result) == depth_range
    assert check(dataset, depth_range=depth_range).problems == []


def test_the_whole_range_of_16_bits_is_no_problem(dataset):
    put(dataset, noise(65535, np.uint16))
    assert check(dataset).problems == []


@pytest.mark.parametrize(
    ("pixels", "kind", "match"),
    [
        (np.full((*SIZE, 3), 7, np.uint8), "constant-image", r"one colour .*\(7, 7, 7\);"),
        (
            noise(100, np.uint16),
            "constant-image",
            r"\(0, 0, 0\), though samples from 0 to 100 are stored; .*DEPTH_RANGE",
        ),
        # 601 of 1200, one more than half.
        (np.where(np.arange(1200).reshape(SIZE) < 601, 255, 9), "saturated-image", "50% of"),
    ],
)
def test_one_value_and_black_and_white_are_named(dataset, pixels, kind, match):
    put(dataset, pixels, "a.png")
    problem = the_one(check(dataset), kind)
    assert problem.severity == WARNING
    assert re.search(match, problem.text), problem.text


def test_hidden_colours_and_further_frames_are_named(dataset):
    rgba = np.random.default_rng(0).integers(1, 255, (*SIZE, 4), np.uint8)
    rgba[:, : WIDTH // 4, 3] = 0
    Image.fromarray(rgba).save(dataset.image("train", "a.png"))
    Image.fromarray(rgba[..., :3]).save(
        dataset.image("train", "b.tif"), save_all=True, append_images=[Image.new("RGB", (9, 9))]
    )
    dataset.train["images"][1]["file_name"] = "b.tif"
    result = check(dataset)
    assert kinds_of(result) == [(WARNING, "several-frames"), (WARNING, "transparent-image")]
    assert "25.0% of the pixels are fully transparent" in the_one(result, "transparent-image").text


def test_the_a_of_lab_is_no_transparency(dataset):
    lab = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(lab, "LAB").save(dataset.image("train", "a.tif"))
    dataset.train["images"][0]["file_name"] = "a.tif"
    assert kinds_of(check(dataset)) == []


@pytest.mark.parametrize(
    ("depth", "low", "high", "expected"),
    [
        (FLOAT, 0.01, 0.7, (0, 1)),
        # Steps of a hundredth of 300, rounded to a power of ten, 10: outwards to tens.
        (FLOAT, 3.5, 303.2, (0, 310)),
        (Depth("16-bit integers", (0, 65535)), 7, 1000, (0, 1023)),
        (Depth("16-bit integers", (0, 65535)), 0, 0, (0, 255)),
        (Depth("32-bit integers"), -1000, 2000, (-1000, 2000)),
    ],
)
def test_used_range(depth, low, high, expected):
    statistics = SplitStatistics(None)
    statistics.depths[depth] = (1, low, high)
    assert used_range([statistics]) == expected
