"""Scenes by hand: what lies on top, how much of the rest is visible, what becomes a crowd."""

import numpy as np
import pycocotools.mask as coco_mask
import pytest
from prepared_datasets import load_script

scenes = load_script("_scenes")
writing = load_script("_writing")


def square(side, colour=(200, 0, 0), alpha=1.0):
    rgb = np.full((side, side, 3), colour, np.uint8)
    return scenes.CutOut(rgb, np.full((side, side), alpha, np.float32), {"category_id": 1})


def empty_scene(height=10, width=12):
    return scenes.Scene(np.full((height, width, 3), 100, np.uint8))


def test_what_lies_on_top_is_taken_from_what_lies_below():
    scene = empty_scene()
    scene.paste(square(4), 2, 3)
    # 2 of 4 columns and 3 of 4 rows of the first are covered: 10 of its 16 pixels stay.
    assert scene.visible_fractions_after(square(4), 4, 4) == [10 / 16, 1.0]
    scene.paste(square(4), 4, 4)
    first, second = scene.annotations()
    assert (first["area"], first["visible"], first["bbox"]) == (10, 0.625, [2, 3, 4, 4])
    assert (second["area"], second["visible"], second["bbox"]) == (16, 1.0, [4, 4, 4, 4])
    masks = [coco_mask.decode(a["segmentation"]) for a in (first, second)]
    assert masks[0].shape == (10, 12)
    assert (masks[0] + masks[1]).max() == 1


def test_outside_of_the_picture_counts_as_hidden():
    scene = empty_scene()
    # Of 4 x 4 pixels at (-1, -2), 3 columns and 2 rows are inside: 6 of 16.
    assert scene.visible_fractions_after(square(4), -1, -2) == [6 / 16]
    scene.paste(square(4), -1, -2)
    (annotation,) = scene.annotations()
    assert (annotation["area"], annotation["bbox"]) == (6, [0, 0, 3, 2])


def test_wholly_outside_has_no_annotation():
    scene = empty_scene()
    assert scene.visible_fractions_after(square(4), 20, 20) == [0.0]
    scene.paste(square(4), 20, 20)
    assert scene.annotations() == []
    assert scene.image.min() == scene.image.max() == 100


@pytest.mark.parametrize(("columns_hidden", "crowd"), [(2, 0), (3, 1)])
def test_little_visible_becomes_a_crowd(columns_hidden, crowd):
    scene = empty_scene()
    scene.paste(square(4), 4, 0)
    # 2 of 4 columns hidden: 50 % visible; 3 of 4: 25 %, below the 30 % asked for.
    scene.paste(square(4), columns_hidden, 0)
    assert [a["iscrowd"] for a in scene.annotations(crowd_below=0.3)] == [crowd, 0]


def test_half_transparent_is_blended_and_not_in_the_mask():
    scene = empty_scene()
    scene.paste(square(4, (200, 0, 100), alpha=0.5), 0, 0)
    # 100 + 0.5 * (200 - 100) = 150, 100 + 0.5 * (0 - 100) = 50.
    np.testing.assert_allclose(scene.image[0, 0], [150, 50, 100])
    assert scene.annotations() == []  # alpha 0.5 is not above 0.5


def test_train_and_val_backgrounds_share_no_pixel(monkeypatch):
    # The upper 60 % of a square photograph is train's: black there, white below.
    photograph = np.zeros((400, 400, 3), np.uint8)
    photograph[240:] = 255
    monkeypatch.setattr(scenes, "photographs", lambda: (photograph,) * len(scenes.PHOTOGRAPHS))
    rng = np.random.default_rng(0)
    for _ in range(50):
        # Gain at most 1.2 * 1.12 and offset at most 25 leave black below 128 and white above.
        assert scenes.random_background(rng, 48, 32, "train").max() < 128
        background = scenes.random_background(rng, 48, 32, "val")
        assert background.min() > 128
        assert background.shape == (32, 48, 3)


def test_split_keeps_a_fifth_of_each_label_for_val():
    labels = np.array(["a"] * 10 + ["b"] * 5 + ["c"] * 2 + ["d"])
    parts = writing.split_stratified(labels, seed=0)
    assert sorted(parts["train"] + parts["val"]) == list(range(18))
    # A fifth of 10 is 2, of 5 is 1; of 2 at least 1; an only one stays in train.
    assert labels[parts["val"]].tolist() == ["a", "a", "b", "c"]
    assert writing.split_stratified(labels, seed=0) == parts
    assert writing.split_stratified(labels, seed=1) != parts
