"""What is counted, and that neither threads nor the number of pictures make a difference."""

from __future__ import annotations

import concurrent.futures
import threading
import tracemalloc

import numpy as np
import pytest
from dataset_to_check import check, image_entry, polygon_annotation, rle_annotation
from PIL import Image

from mask2former_mt.check.check import check_dataset, in_order


def test_numbers_are_counted_and_settings_follow_from_the_training_split(dataset):
    dataset.train["annotations"].append(rle_annotation(104, 11, iscrowd=1))
    Image.new("RGB", (40, 30), (10, 20, 30)).save(dataset.image("train", "a.png"))
    Image.new("RGB", (40, 30), (30, 20, 10)).save(dataset.image("train", "b.png"))
    result = check(dataset)
    numbers = result.statistics["train"].to_json()
    assert numbers["images"] == numbers["images_decoded"] == 2
    assert numbers["instances"] == 3
    assert numbers["crowds"] == 1
    assert numbers["instances_per_class"] == {"cat": 2, "dog": 1}
    style, ripeness = numbers["subcategories"]
    assert style["instances_per_value"] == {"photo": 1, "cartoon": 1}
    assert style["share_unknown"] == pytest.approx(1 / 3)
    assert ripeness["share_none"] == pytest.approx(1 / 3)
    # Rows cat and dog; columns photo, cartoon, none, unknown.
    assert style["class_by_value"] == [[1, 0, 0, 1], [0, 1, 0, 0]]
    assert numbers["instances_per_image"]["mean"] == 1.5
    # Red is 10 in one picture and 30 in the other: mean 20, deviation 10.
    assert numbers["colour_mean_rgb"] == [20, 20, 20]
    assert numbers["colour_std_rgb"] == [10, 0, 10]
    assert [suggestion.settings for suggestion in result.suggestions] == [
        {
            "INPUT.FORMAT": "RGB",
            "MODEL.PIXEL_MEAN": [20, 20, 20],
            # Green is 20 everywhere: 0 cannot be divided by.
            "MODEL.PIXEL_STD": [10, 1, 10],
        },
        # 1 and 2 objects: 99 % is 1.99, twice that is 3.98.
        {"MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 10},
        # 5 % of the sides 10, 10 and 24.5 is 10, of 30: 16 * 3 = 48.
        {"INPUT.MIN_SIZE_TRAIN": [64], "INPUT.MIN_SIZE_TEST": 64},
    ]


def test_reduced_decoding_keeps_mean_and_nearly_the_deviation(dataset):
    coarse = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    path = dataset.image("train", "a.jpg")
    Image.fromarray(coarse).resize((640, 480)).save(path, quality=95)
    dataset.train["images"] = [image_entry(10, "a.jpg", 480, 640)]
    dataset.train["annotations"] = [polygon_annotation(100, 10)]
    mean, deviation = check(dataset).statistics["train"].colours
    expected = np.asarray(Image.open(path)).reshape(-1, 3)
    np.testing.assert_allclose(mean, expected.mean(axis=0), atol=0.3)
    np.testing.assert_allclose(deviation, expected.std(axis=0), rtol=0.03)


def test_few_items_are_under_way_and_come_in_order():
    taken = []
    gate = threading.Event()

    def items():
        for i in range(1000):
            taken.append(i)
            yield i

    def work(item):
        gate.wait(10)
        return item

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = in_order(pool, 2, work, items())
        threading.Timer(0.2, gate.set).start()
        assert next(results) == 0
        # Eight for each of two threads.
        assert len(taken) == 16
        assert list(results) == list(range(1, 1000))


def test_memory_does_not_grow_with_the_pictures(dataset):
    dataset.write_image(dataset.image("train", "large.png"), size=(480, 640))
    dataset.train["images"] = [image_entry(i, "large.png", 480, 640) for i in range(200)]
    dataset.train["annotations"] = [polygon_annotation(i, i) for i in range(200)]
    dataset.write()
    tracemalloc.start()
    check_dataset(dataset.yaml, num_workers=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A decoded picture has 480 * 640 * 3 = 0.92 MB; all 200 of them would be 184 MB.
    assert peak < 40e6
