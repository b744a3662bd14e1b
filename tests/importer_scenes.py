"""A known scene, written in other tools' formats as their documentation has them."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
from detectron2.data import DatasetCatalog, MetadataCatalog
from mask2former_mt.importers.dataset_import import Imported, import_dataset
from mask2former_mt.importers.source import ImportOptions
from PIL import Image

from mask2former_mt.data.rasterize import rasterize
from mask2former_mt.dataset.catalog import register_dataset_files

CLASSES = ("cat", "dog")
MISSING = object()  # the source says nothing
EXIF_ORIENTATION = 274

# An L: its convex hull would have 1600 - 400 / 2 more pixels.
ELL = [5.0, 5.0, 45.0, 5.0, 45.0, 15.0, 15.0, 15.0, 15.0, 45.0, 5.0, 45.0]
LEFT, RIGHT = [20.0, 20.0, 28.0, 20.0, 28.0, 40.0, 20.0, 40.0], [40.0, 22.0, 58.0, 22.0, 49.0, 38.0]
SQUARE = [4.0, 10.0, 24.0, 10.0, 24.0, 30.0, 4.0, 30.0]
TALL = [10.0, 30.0, 30.0, 30.0, 30.0, 58.0, 10.0, 58.0]


@dataclasses.dataclass
class Thing:
    """An object of the scene: polygons in pixels of the upright picture."""

    name: str
    polygons: list[list[float]]
    colour: object = MISSING
    occluded: object = MISSING


@dataclasses.dataclass
class View:
    """A picture of the scene, `width` and `height` of it turned upright."""

    file_name: str
    width: int
    height: int
    things: list[Thing]
    turned: bool = False


def views() -> dict[str, list[View]]:
    """By split. A file name has a space, one is turned by EXIF, one has no objects."""
    return {
        "train": [
            View("a b.png", 64, 48, [Thing("dog", [ELL], "red", True), Thing("cat", [RIGHT])]),
            View("empty.png", 32, 40, []),
            View("turned.jpg", 40, 60, [Thing("cat", [TALL], "blue", False)], turned=True),
        ],
        "val": [View("v.png", 64, 48, [Thing("dog", [SQUARE], "blue", False)])],
    }


def save_picture(file: Path, view: View) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.full((view.height, view.width, 3), 90, np.uint8))
    if view.turned:
        # Stored on its side: orientation 6 says that a quarter turn clockwise makes it upright.
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(file, exif=exif)
    else:
        image.save(file)


def mask_of(polygons: list[list[float]], height: int, width: int) -> np.ndarray:
    rles = mask_util.frPyObjects(polygons, height, width)
    return mask_util.decode(mask_util.merge(rles)).astype(bool)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def load(yaml_file: Path) -> dict[str, dict[str, list[tuple[str, np.ndarray, dict]]]]:
    """Reads an imported dataset as training does: (class, mask, labels) by split and file."""
    result: dict = {}
    for name in register_dataset_files([yaml_file]):
        metadata = MetadataCatalog.get(name)
        by_file = result.setdefault(name.rpartition("_")[2], {})
        for record in DatasetCatalog.get(name):
            size = (record["height"], record["width"])
            annotations = record["annotations"]
            # By the same backend as the scene: this is about what was read, not how it is drawn.
            segmentations = [a["segmentation"] for a in annotations]
            masks = rasterize(segmentations, size=size, rasterizer="pycocotools")
            by_file[Path(record["file_name"]).name] = [
                (
                    metadata.thing_classes[a["category_id"]],
                    mask,
                    {
                        s.name: "unknown" if label == -1 else s.value_name(label)
                        for s, label in zip(
                            metadata.subcategory_spec, a["subcategories"], strict=True
                        )
                    },
                )
                for a, mask in zip(annotations, masks, strict=True)
            ]
    return result


def check_masks_and_classes(loaded: dict, scene: dict[str, list[View]], least: float) -> None:
    """Every picture and object of the scene is there, in its order, with its class and mask."""
    assert {s: sorted(files) for s, files in loaded.items()} == {
        split: sorted(view.file_name for view in pictures) for split, pictures in scene.items()
    }
    for split, pictures in scene.items():
        for view in pictures:
            found = loaded[split][view.file_name]
            assert [name for name, _, _ in found] == [thing.name for thing in view.things]
            for (_, mask, _), thing in zip(found, view.things, strict=True):
                assert iou(mask, mask_of(thing.polygons, view.height, view.width)) >= least


def write_yolo(folder: Path, scene: dict[str, list[View]], newline: str = "\n") -> Path:
    """images/<split>, labels/<split> and data.yaml; classes 0 and 3, as ids may have gaps."""
    numbers = {"cat": 0, "dog": 3}
    for split, pictures in scene.items():
        (folder / "labels" / split).mkdir(parents=True)
        for view in pictures:
            file = folder / "images" / split / view.file_name
            save_picture(file, view)
            lines = []
            for thing in view.things:
                (polygon,) = thing.polygons
                scale = [view.width, view.height] * (len(polygon) // 2)
                values = [f"{v / s:.6f}" for v, s in zip(polygon, scale, strict=True)]
                lines.append(f"{numbers[thing.name]} {' '.join(values)}{newline}")
            label = folder / "labels" / split / Path(view.file_name).with_suffix(".txt")
            label.write_bytes("".join(lines).encode())
    data = folder / "data.yaml"
    splits = "".join(f"{split}: images/{split}\n" for split in scene)
    data.write_text(f"path: .\n{splits}nc: 2\nnames:\n  0: cat\n  3: dog\n")
    return data


def labelme_shape(label: str, points: list, **fields) -> dict:
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": "polygon",
        "flags": {},
        "mask": None,
        **fields,
    }


def pairs(polygon: list[float]) -> list[list[float]]:
    return [list(point) for point in zip(polygon[0::2], polygon[1::2], strict=True)]


def png_base64(mask: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def write_labelme_file(file: Path, view: View, shapes: list[dict], **fields) -> None:
    document = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": view.file_name,
        "imageData": None,
        "imageHeight": view.height,
        "imageWidth": view.width,
        **fields,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2), encoding="utf-8")


def write_labelme(folder: Path, scene: dict[str, list[View]]) -> dict[str, Path]:
    """A folder per split; yes/no flags, and X-AnyLabeling's attributes for the colour."""
    for split, pictures in scene.items():
        for view in pictures:
            save_picture(folder / split / view.file_name, view)
            shapes = []
            for number, thing in enumerate(view.things):
                flags = {} if thing.occluded is MISSING else {"occluded": thing.occluded}
                attributes = {} if thing.colour is MISSING else {"colour": thing.colour}
                group = number if len(thing.polygons) > 1 else None
                shapes += [
                    labelme_shape(
                        thing.name,
                        pairs(polygon),
                        flags=flags,
                        attributes=attributes,
                        group_id=group,
                    )
                    for polygon in thing.polygons
                ]
            write_labelme_file((folder / split / view.file_name).with_suffix(".json"), view, shapes)
    return {split: folder / split for split in scene}


def coco_document(pictures: list[View], attributes_of, **header) -> dict:
    """COCO's lists; ids have gaps, as in files that somebody thinned out."""
    images, annotations = [], []
    for number, view in enumerate(pictures):
        images.append(
            {
                "id": 10 * number + 7,
                "width": view.width,
                "height": view.height,
                "file_name": view.file_name,
                "license": 0,
                "date_captured": 0,
            }
        )
        for thing in view.things:
            annotations.append(
                {
                    "id": 3 * len(annotations) + 5,
                    "image_id": images[-1]["id"],
                    "category_id": 4 + 5 * CLASSES.index(thing.name),
                    "segmentation": thing.polygons,
                    "iscrowd": 0,
                    **attributes_of(thing),
                }
            )
    return {
        "licenses": [],
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": 4 + 5 * i, "name": name, "supercategory": ""} for i, name in enumerate(CLASSES)
        ],
        **header,
    }


def write_coco(folder: Path, scene: dict[str, list[View]], attributes_of, **header):
    """`annotations/instances_<split>.json` and `images/<split>`; returns inputs and images."""
    (folder / "annotations").mkdir(parents=True)
    inputs, images = {}, {}
    for split, pictures in scene.items():
        images[split] = folder / "images" / split
        for view in pictures:
            save_picture(images[split] / view.file_name, view)
        inputs[split] = folder / "annotations" / f"instances_{split}.json"
        inputs[split].write_text(json.dumps(coco_document(pictures, attributes_of, **header)))
    return inputs, images


def cvat_attributes(thing: Thing) -> dict:
    """As CVAT's export has them, with its own keys."""
    given = {"occluded": thing.occluded, "colour": thing.colour}
    chosen = {name: value for name, value in given.items() if value is not MISSING}
    return {"attributes": {**chosen, "rotation": 0.0, "keyframe": True, "track_id": 12}}


def edit(file: Path, change) -> None:
    """Changes a JSON file in place."""
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


# Attributes by id, as Fashionpedia and PACO have them.
LISTED = [{"id": i, "name": n, "supercategory": "color"} for i, n in ((1, "red"), (2, "blue"))]


def listed_attributes(thing: Thing) -> dict:
    """Both colours for what is occluded; PACO says that the first one dominates."""
    numbers = [1, 2] if thing.occluded is True else [2]
    return {"attribute_ids": numbers, "dom_color_ids": [1], "unknown_color": 0}


def write_format(format_name: str, folder: Path, scene: dict[str, list[View]]) -> tuple[dict, dict]:
    """The scene in a format; returns the inputs and the picture folders by split."""
    if format_name == "yolo":
        return {"train": write_yolo(folder, scene)}, {}
    if format_name == "labelme":
        return write_labelme(folder, scene), {}
    if format_name == "coco":
        return write_coco(folder, scene, cvat_attributes)
    header = {"attributes": LISTED, "attr_type_to_attr_idxs": {"color": [1, 2]}}
    return write_coco(folder, scene, listed_attributes, **header)


def importer(
    format_name: str, inputs: dict[str, Path], out: Path, images: dict[str, Path] | None = None
) -> Callable[..., Imported]:
    """A function that imports with the options given to it, as the dataset `tiny`."""

    def run(images=images, **options) -> Imported:
        return import_dataset(
            format_name,
            inputs,
            out,
            images=images,
            options=ImportOptions(**options),
            dataset_name="tiny",
            force=True,
        )

    return run
