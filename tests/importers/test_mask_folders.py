"""Folders of masks: the round trip, where masks may be, what their values are, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from importer_scenes import ELL, RIGHT, Case, check_masks_and_classes, mask_of, views, write_masks
from mask2former_mt.importers.id_maps import read_ids, rles_of_ids, without_border
from PIL import Image

from mask2former_mt.dataset.rle import decode_rle

CLASSES = ("cat", "dog")


@pytest.fixture
def masks(tmp_path):
    return Case("masks", tmp_path / "out", write_masks(tmp_path / "in", views()))


def test_the_scene_comes_back(masks):
    assert masks.run().notes == []
    check_masks_and_classes(masks.load(), views())
    assert masks.run(classes=("thing",)).num_classes == 1


def as_folders_of_classes(folder: Path) -> None:
    """masks/a/1_dog.png -> masks/a/dog/1.png"""
    for file in list(folder.rglob("masks/*/[12]_*.png")):
        number, name = file.stem.split("_")
        (file.parent / name).mkdir(exist_ok=True)
        file.rename(file.parent / name / f"{number}.png")


def as_maps(folder: Path) -> None:
    """masks/a/1_dog.png, masks/a/2_cat.png -> masks/a_id.png with 2001 and 1002"""
    for picture in list(folder.rglob("masks/*/")):
        ids: np.ndarray | int = 0
        for file in picture.iterdir():
            number, name = file.stem.split("_")
            value = 1000 * (1 + CLASSES.index(name)) + int(number)
            ids = ids + value * np.asarray(Image.open(file)).astype(np.uint16)
            file.unlink()
        if not isinstance(ids, int):
            Image.fromarray(ids).save(picture.with_name(f"{picture.name}_id.png"))


def as_maps_beside(folder: Path) -> None:
    """images/a.jpg, masks/a_id.png -> a.jpg, a_id.png"""
    as_maps(folder)
    for file in [*folder.rglob("images/*"), *folder.rglob("masks/*.png")]:
        file.rename(file.parents[1] / file.name)


def as_maps_of_classes(folder: Path) -> None:
    """masks/a/1_dog.png -> masks/dog/a.png"""
    for file in list(folder.rglob("masks/*/[12]_*.png")):
        place = file.parents[1] / file.stem.split("_")[1]
        place.mkdir(exist_ok=True)
        file.rename(place / f"{file.parent.name}.png")


def as_data_science_bowl(folder: Path) -> None:
    """images/a.jpg, masks/a/1_dog.png -> a/images/a.jpg, a/masks/1_dog.png"""
    for picture in list(folder.rglob("images/*")):
        old, new = picture.parents[1] / "masks", picture.parents[1] / picture.stem
        (new / "images").mkdir(parents=True)
        picture.rename(new / "images" / picture.name)
        if any((old / picture.stem).iterdir()):
            (old / picture.stem).rename(new / "masks")
        else:
            (new / "masks").mkdir()
            (old / f"{picture.stem}_id.png").rename(new / "masks" / f"{picture.stem}_id.png")


@pytest.mark.parametrize(
    ("move", "classes"),
    [
        (as_folders_of_classes, ()),
        (as_maps, CLASSES),
        (as_maps_beside, CLASSES),
        (as_maps_of_classes, ()),
        (as_data_science_bowl, ()),
    ],
)
def test_where_masks_may_be(masks, tmp_path, move, classes):
    move(tmp_path / "in")
    masks.run(classes=classes)
    loaded = masks.load()
    for objects in loaded["train"].values():
        objects.sort(key=lambda item: item[0], reverse=True)  # the dog first, as in the scene
    check_masks_and_classes(loaded, views())


def save(file: Path, values: list) -> Path:
    Image.fromarray(np.array(values, dtype=np.uint8)).save(file)
    return file


def test_what_values_are(tmp_path):
    # Red 1 and green 1 are 1 + 256; what is transparent is nothing.
    colours = save(tmp_path / "rgb.png", [[[1, 0, 0], [1, 1, 0], [0, 0, 1]]])
    assert read_ids(colours, 1, 3).tolist() == [[1, 257, 65536]]
    clear = save(tmp_path / "rgba.png", [[[1, 0, 0, 255], [1, 1, 0, 0]]])
    assert read_ids(clear, 1, 2).tolist() == [[1, 0]]
    palette = save(tmp_path / "p.png", [[0, 1, 2]])
    with Image.open(palette) as image:
        image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
        image.save(palette)
    assert Image.open(palette).mode == "P"
    assert read_ids(palette, 1, 3).tolist() == [[0, 1, 2]]
    with pytest.raises(ValueError, match=r"must be 2x3 \(width x height\) as its picture, got 3x1"):
        read_ids(palette, 3, 2)
    Image.fromarray(np.zeros((1, 1), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ValueError, match="must be numbers or colours, got F"):
        read_ids(tmp_path / "f.tif", 1, 1)


@pytest.mark.parametrize(
    ("ids", "kept"),
    [([0, 1, 255], [0, 1, 0]), ([0, 255], [0, 255]), ([0, 254, 255], [0, 254, 255]), ([0], [0])],
)
def test_what_255_is(ids, kept):
    assert without_border(np.array([ids])).tolist() == [kept]


def test_run_lengths_of_each_value():
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 4, (7, 5)) * 1000
    rles = rles_of_ids(ids)
    assert list(rles) == [1000, 2000, 3000]
    for value, rle in rles.items():
        assert (decode_rle(rle) == (ids == value)).all()
    assert rles_of_ids(np.zeros((3, 3), dtype=int)) == {}


def test_what_cannot_be_read_is_named(masks, tmp_path):
    folder = tmp_path / "in" / "val" / "masks" / "v"
    mask = folder / "1_dog.png"
    mask.rename(folder / "1.png")
    masks.refuses("1.png: nothing says the class of value 1; name the only class with --classes")
    (folder / "1.png").rename(mask)
    masks.refuses(r"the class 'dog' is not in --classes \['cat', 'cow'\]", classes=("cat", "cow"))
    content = mask.read_bytes()
    mask.write_bytes(content[:40])
    masks.refuses("1_dog.png cannot be read as a mask")
    Image.new("L", (64, 48)).save(mask)
    masks.refuses("1_dog.png: the mask is empty; .*--unusable skip")
    Image.new("L", (64, 48)).save(folder / "dog_02.jpg")
    masks.refuses("dog_02.jpg: a mask must be PNG or TIFF, as JPEG changes its values")
    (folder / "dog_02.jpg").unlink()
    mask.write_bytes(content)
    folder.rename(folder.with_name("w"))
    masks.refuses("w/1_dog.png: no picture belongs to this mask; put it back")
    masks.inputs = {"train": tmp_path / "in" / "val" / "images"}
    masks.refuses(r"no masks there; expected images/a.jpg and masks/a.png or masks/a/\*.png")
    masks.inputs = {"train": folder / "nowhere"}
    masks.refuses("is not a folder of pictures and masks")


def test_pictures_without_masks_and_maps_of_one_value_are_counted(masks, tmp_path):
    folder = tmp_path / "in" / "train"
    (folder / "masks" / "empty_id.png").unlink()
    ell, right = (mask_of([outline], 48, 64) for outline in (ELL, RIGHT))
    Image.fromarray(((ell | right) * 255).astype(np.uint8)).save(folder / "masks" / "empty.png")
    Image.new("RGB", (64, 48)).save(folder / "images" / "empty.png")
    Image.new("RGB", (64, 48)).save(folder / "images" / "new.png")
    done = masks.run(classes=("thing",))
    assert done.notes == [
        f"maps with one value, taken as one object: 1, the first {folder}/masks/empty.png",
        f"pictures without masks, left out as not annotated: 1, the first {folder}/images/new.png",
    ]
    ((_, mask, _),) = masks.load()["train"]["empty.png"]
    assert (mask == (ell | right)).all()
