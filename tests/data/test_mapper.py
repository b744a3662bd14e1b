"""What the mapper hands to the model stays in one frame, whatever the augmentations do."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import transforms as T
from PIL import Image
from scenes_on_disk import SPEC, annotation, flat, inside, rle

from mask2former_mt.config import add_mask2former_mt_config
from mask2former_mt.data.augment import build_train_augmentations
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.structures import SubcategorySpec

# Not square, no side a multiple of 32.
HEIGHT, WIDTH = 83, 131
# Away from every border.
OUTLINE = [(20.3, 30.7), (70.1, 8.2), (101.6, 33.4), (88.0, 70.9), (41.5, 62.8)]
MASK = inside(OUTLINE, (HEIGHT, WIDTH))


@pytest.fixture
def record(tmp_path) -> dict:
    """A picture whose object is pure red on black, so that the pixels tell where it is."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[MASK, 0] = 255
    path = tmp_path / "red.png"
    Image.fromarray(image).save(path)
    return {
        "file_name": str(path),
        "height": HEIGHT,
        "width": WIDTH,
        "image_id": 7,
        "annotations": [annotation([flat(OUTLINE)], labels=(1, 3), category=4)],
    }


def _mapper(augmentations=(), **fields) -> MultiTaskInstanceMapper:
    arguments = {"is_train": True, "image_format": "RGB", "spec": SPEC, **fields}
    return MultiTaskInstanceMapper(augmentations=list(augmentations), **arguments)


def _cfg(**input_keys):
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    defaults = {
        "IMAGE_SIZE": 96,
        "MIN_SCALE": 0.5,
        "MAX_SCALE": 2.0,
        "SIZE_DIVISIBILITY": -1,
        "COLOR_AUG_SSD": False,
        "DATASET_MAPPER_NAME": "coco_instance_lsj",
        "FORMAT": "RGB",
    }
    for key, value in {**defaults, **input_keys}.items():
        cfg.INPUT[key] = value
    return cfg


def test_the_contract_in_training(record):
    before = copy.deepcopy(record)
    mapped = _mapper()(record)
    assert record == before  # the loader keeps it for the next epoch
    assert mapped["image"].dtype == torch.uint8
    assert mapped["image"].shape == (3, HEIGHT, WIDTH)
    assert (mapped["height"], mapped["width"], mapped["image_id"]) == (HEIGHT, WIDTH, 7)
    assert mapped["file_name"] == record["file_name"]
    instances = mapped["instances"]
    assert instances.image_size == (HEIGHT, WIDTH)
    assert type(instances.gt_masks) is torch.Tensor
    assert instances.gt_masks.dtype == torch.bool
    assert instances.gt_masks.shape == (1, HEIGHT, WIDTH)
    torch.testing.assert_close(instances.gt_classes, torch.tensor([4]))
    torch.testing.assert_close(instances.gt_subcategories, torch.tensor([[1, 3]]))


def test_the_contract_in_inference(record):
    mapped = _mapper([T.Resize((166, 262))], is_train=False)(record)
    assert "instances" not in mapped
    assert mapped["image"].shape == (3, 166, 262)
    # The original's, to which the masks go back.
    assert (mapped["height"], mapped["width"]) == (HEIGHT, WIDTH)


def test_a_training_sample_says_what_was_done_to_it(record):
    mapper = _mapper([T.RandomFlip(prob=1.0)], size_divisibility=32)
    sample = mapper({**record, "draw": 5})
    assert sample["draw"] == 5
    # What the transforms make of the original is the sample, padding included.
    image = np.asarray(Image.open(record["file_name"]))
    again = sample["transforms"].apply_image(image)
    np.testing.assert_array_equal(again.transpose(2, 0, 1), sample["image"])
    assert mapper(record)["draw"] is None
    assert not {"draw", "transforms"} & set(_mapper(is_train=False)(record))


def test_seed_and_draw_decide_what_is_random(record):
    augmentations = [T.RandomFlip(), T.RandomRotation([-30, 30]), T.RandomBrightness(0.5, 1.5)]
    samples = {}
    for seed, draw in [(1, 1), (1, 2), (2, 1), (1, 1)]:
        image = _mapper(augmentations, seed=seed)({**record, "draw": draw})["image"]
        assert torch.equal(samples.setdefault((seed, draw), image), image)
    first, *others = samples.values()
    assert not any(torch.equal(first, other) for other in others)
    with pytest.raises(ValueError, match=r"seed and draw must be at least 0, got \(1, -1\)"):
        _mapper(augmentations, seed=1)({**record, "draw": -1})


def test_an_augmentation_of_the_users_own_is_seeded_too(record):
    class Noise(T.Augmentation):
        def get_transform(self, image):
            return T.BlendTransform(255 * torch.rand(()).item() * random.random(), 0.5, 0.5)

    mapper = _mapper([Noise()], seed=4)
    first, other, again = (mapper({**record, "draw": d})["image"] for d in (0, 1, 0))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_rectangle_is_rasterised_by_hand(record):
    # x in [10, 20), y in [5, 12): columns 10 to 19 and rows 5 to 11, 10 * 7 = 70 pixels.
    record["annotations"] = [annotation([[10, 5, 20, 5, 20, 12, 10, 12]])]
    instances = _mapper()(record)["instances"]
    expected = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    expected[0, 5:12, 10:20] = True
    torch.testing.assert_close(instances.gt_masks, expected)
    torch.testing.assert_close(instances.gt_boxes.tensor, torch.tensor([[10.0, 5.0, 20.0, 12.0]]))
    # Twice as wide, the same height, mirrored: columns 262 - 40 = 222 to 262 - 20 - 1 = 241.
    wide = [T.Resize((HEIGHT, 2 * WIDTH)), T.RandomFlip(prob=1.0)]
    boxes = _mapper(wide)(record)["instances"].gt_boxes.tensor
    torch.testing.assert_close(boxes, torch.tensor([[222.0, 5.0, 242.0, 12.0]]))


GEOMETRY = {
    "none": [],
    "horizontal flip": [T.RandomFlip(prob=1.0)],
    "vertical flip": [T.RandomFlip(prob=1.0, horizontal=False, vertical=True)],
    "larger": [T.Resize((201, 317))],
    "smaller": [T.Resize((41, 70))],
    "aspect changed": [T.Resize((150, 90))],
    "crop": [T.FixedSizeCrop((50, 77))],
    "pad": [T.FixedSizeCrop((100, 177))],
    "published": build_train_augmentations(_cfg()),
    "plain": build_train_augmentations(
        _cfg(DATASET_MAPPER_NAME="plain", MIN_SIZE_TRAIN=(60, 127), MAX_SIZE_TRAIN=190)
    ),
}


@pytest.mark.parametrize("kind", ["polygon", "rle", "uncompressed rle"])
@pytest.mark.parametrize("geometry", GEOMETRY)
def test_shifted_masks_image_and_mask_agree_after_flip_resize_and_crop(record, geometry, kind):
    if kind == "polygon":
        segmentation = [flat(OUTLINE)]
    elif kind == "rle":
        segmentation = rle(MASK)
    else:
        # Column by column, run lengths of 0, 1, 0, ...; the first pixel is 0.
        pixels = MASK.T.reshape(-1)
        edges = np.flatnonzero(np.diff(pixels)) + 1
        runs = np.diff([0, *edges, pixels.size]).tolist()
        segmentation = {"size": [HEIGHT, WIDTH], "counts": runs}
    record["annotations"] = [annotation(segmentation)]
    mapper = _mapper(GEOMETRY[geometry])
    for seed in range(8):
        np.random.seed(seed)  # noqa: NPY002 - detectron2's augmentations draw from this generator
        mapped = mapper(record)
        red, green, _ = mapped["image"].double()
        red = red - green  # padding is grey, the object is red
        gt_mask = mapped["instances"].gt_masks[0]
        in_image = red > 127
        # Along the outline a pixel may fall on either side, by rounding: half a pixel's width.
        steps = (gt_mask[1:] ^ gt_mask[:-1]).sum() + (gt_mask[:, 1:] ^ gt_mask[:, :-1]).sum()
        assert (in_image ^ gt_mask).sum() <= 0.5 * steps
        # A frame that is half a pixel off would move the centre of gravity by half a pixel.
        y, x = torch.meshgrid(*(torch.arange(n).double() for n in red.shape), indexing="ij")
        for axis in (x, y):
            shift = (axis * red).sum() / red.sum() - (axis * gt_mask).sum() / gt_mask.sum()
            assert abs(shift.item()) < 0.25


def test_padding_is_grey_and_no_mask_stands_in_it(record):
    whole = np.ones((HEIGHT, WIDTH), bool)
    corners = [[0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]]
    record["annotations"] = [annotation(rle(whole)), annotation(corners)]
    # FixedSizeCrop writes 255 into the padding of segmentations, which must not count as object.
    mapped = _mapper([T.FixedSizeCrop((90, 140))])(record)
    assert mapped["image"].shape == (3, 90, 140)
    assert (mapped["image"][:, HEIGHT:] == 128).all()
    assert (mapped["image"][:, :, WIDTH:] == 128).all()
    for mask in mapped["instances"].gt_masks:
        assert mask[:HEIGHT, :WIDTH].all()
        assert mask.sum().item() == HEIGHT * WIDTH


def test_size_divisibility_pads_image_and_masks(record):
    mapped = _mapper(size_divisibility=32)(record)
    # 83 -> 96 and 131 -> 160; the original's size stays.
    assert mapped["image"].shape == (3, 96, 160)
    assert mapped["instances"].image_size == (96, 160)
    assert mapped["instances"].gt_masks.shape == (1, 96, 160)
    assert not mapped["instances"].gt_masks[:, HEIGHT:].any()
    assert (mapped["image"][:, HEIGHT:] == 128).all()
    assert (mapped["height"], mapped["width"]) == (HEIGHT, WIDTH)


def test_an_instance_that_left_the_crop_leaves_with_all_its_labels(record):
    np.random.seed(0)  # noqa: NPY002 - detectron2's augmentations draw from this generator
    record["annotations"] = [
        annotation([[0, 0, 9, 0, 9, 9, 0, 9]], labels=(0, 1), category=1, number=1),
        annotation([[120, 70, 130, 70, 130, 80, 120, 80]], labels=(1, 2), category=2, number=2),
        annotation([[30, 30, 99, 30, 99, 70, 30, 70]], labels=(-1, 3), category=3, number=3),
    ]

    class RightHalf(T.Augmentation):
        def get_transform(self, image):
            return T.CropTransform(66, 0, 65, HEIGHT)

    instances = _mapper([RightHalf()])(record)["instances"]
    assert instances.gt_classes.tolist() == [2, 3]
    assert instances.gt_subcategories.tolist() == [[1, 2], [-1, 3]]
    # Second: columns 120 - 66 = 54 to 63. Third: from the crop's border to 99 - 66 = 33.
    assert instances.gt_boxes.tensor.tolist() == [[54, 70, 64, 80], [0, 30, 33, 70]]
    assert len(_mapper([RightHalf()], min_visible_pixels=101)(record)["instances"]) == 1


@pytest.mark.parametrize("annotations", [[], None, "crowd", "outside"])
def test_a_picture_without_objects_is_legal(record, annotations):
    if annotations is None:
        del record["annotations"]
    elif annotations == "crowd":
        record["annotations"][0]["iscrowd"] = 1
    elif annotations == "outside":
        record["annotations"] = [annotation([[131, 0, 132, 0, 132, 83]])]
    else:
        record["annotations"] = []
    mapped = _mapper(size_divisibility=32)(record)
    instances = mapped["instances"]
    assert instances.gt_masks.shape == (0, 96, 160)
    assert instances.gt_masks.dtype == torch.bool
    assert instances.gt_boxes.tensor.shape == (0, 4)
    assert instances.gt_classes.shape == (0,)
    assert instances.gt_classes.dtype == torch.int64
    assert instances.gt_subcategories.shape == (0, 2)
    assert instances.gt_subcategories.dtype == torch.int64


def test_labels_are_unknown_where_the_dataset_has_none(record):
    del record["annotations"][0]["subcategories"]
    assert _mapper()(record)["instances"].gt_subcategories.tolist() == [[-1, -1]]
    plain = _mapper(spec=SubcategorySpec())
    assert plain(record)["instances"].gt_subcategories.shape == (1, 0)


def test_exif_rotation_is_applied_before_the_size_is_compared(record, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # orientation: turn by 90 degrees clockwise to see it upright
    lying = np.asarray(Image.open(record["file_name"]).transpose(Image.Transpose.ROTATE_90))
    path = tmp_path / "lying.png"
    Image.fromarray(lying).save(path, exif=exif)
    record["file_name"] = str(path)
    mapped = _mapper()(record)
    assert mapped["image"].shape == (3, HEIGHT, WIDTH)
    assert (mapped["image"][0] == 255).numpy().tolist() == MASK.tolist()


def test_channels_are_in_the_order_asked_for(record):
    rgb = _mapper()(record)["image"]
    bgr = _mapper(image_format="BGR")(record)["image"]
    torch.testing.assert_close(bgr, rgb.flip(0))
    with pytest.raises(ValueError, match=r"INPUT.FORMAT must be 'RGB' or 'BGR', got 'L'"):
        _mapper(image_format="L")


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_other_kinds_of_pictures_become_three_channels(record, tmp_path, mode):
    path = tmp_path / "other.png"
    Image.open(record["file_name"]).convert(mode).save(path)
    record["file_name"] = str(path)
    assert _mapper()(record)["image"].shape == (3, HEIGHT, WIDTH)


def test_bad_images_are_named(record, tmp_path):
    mapper = _mapper()
    good = Path(record["file_name"]).read_bytes()
    for name, content in (("cut.png", good[: len(good) // 2]), ("text.png", b"no image")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"image .*{name} cannot be read"):
            mapper({**record, "file_name": str(path)})
    Image.open(record["file_name"]).save(tmp_path / "cut.jpg", quality=95)
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.jpg cannot be read: .*truncated"):
        mapper({**record, "file_name": str(tmp_path / "cut.jpg")})
    with pytest.raises(FileNotFoundError, match=r"none\.png does not exist"):
        mapper({**record, "file_name": str(tmp_path / "none.png")})
    with pytest.raises(ValueError, match=r"red\.png must be 83x131 .* got 131x83"):
        mapper({**record, "height": WIDTH, "width": HEIGHT})


@pytest.mark.parametrize("key", ["DATASET_MAPPER_NAME", "RANDOM_FLIP"])
def test_an_unknown_choice_is_named(key):
    with pytest.raises(ValueError, match=rf"INPUT\.{key} must be one of .*got 'no_such'"):
        build_train_augmentations(_cfg(**{key: "no_such"}))


def test_deep_pictures_are_scaled_by_the_configs_range(record, tmp_path):
    samples = np.full((HEIGHT, WIDTH), 1000, np.uint16)
    record["file_name"] = str(tmp_path / "deep.png")
    Image.fromarray(samples).save(record["file_name"])
    # 1000 / 65535 * 255 = 3.9; 1000 / 4000 * 255 = 63.75.
    for depth_range, value in (([], 4), ([0, 4000], 64)):
        cfg = _cfg(DEPTH_RANGE=depth_range)
        for is_train in (False, True):
            mapper = MultiTaskInstanceMapper(cfg, is_train=is_train, spec=SPEC)
            assert value in np.unique(mapper(record)["image"])


def test_from_config(record):
    cfg = _cfg(SIZE_DIVISIBILITY=100, FORMAT="BGR", MIN_SIZE_TEST=166, COLOR_AUG_SSD=True)
    train = MultiTaskInstanceMapper(cfg, is_train=True, spec=SPEC)
    assert train(record)["image"].shape == (3, 100, 100)  # a crop of 96, padded
    test = MultiTaskInstanceMapper(cfg, is_train=False, spec=SPEC)
    mapped = test(record)
    assert mapped["image"].shape == (3, 166, 262)  # twice 83 x 131, nothing padded
    assert mapped["image"][0].sum() == 0  # blue comes first
    assert mapped["image"][2].sum() > 0
