"""A known scene, written in other tools' formats as their documentation has them."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote
from xml.etree.ElementTree import Element, ElementTree, SubElement

import numpy as np
import pycocotools.mask as mask_util
import pytest
from mask2former_mt.importers.dataset_import import Imported, import_dataset
from mask2former_mt.importers.source import ImportOptions
from PIL import Image

from mask2former_mt.data.rasterize import rasterize
from mask2former_mt.dataset.catalog import read_dataset_file
from mask2former_mt.dataset.split import read_split, training_records

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
    file = read_dataset_file(yaml_file)
    splits = [read_split(file.files_of(name)) for name in file.entries]
    assert len({split.header for split in splits}) == 1
    result: dict = {}
    for split in splits:
        names, spec = split.header.class_names, split.header.spec
        by_file = result[split.files.name] = {}
        for record in training_records(split.files, split.header):
            size, annotations = (record["height"], record["width"]), record["annotations"]
            masks = rasterize([a["segmentation"] for a in annotations], size=size)
            labels = [
                {
                    s.name: "unknown" if label == -1 else s.value_name(label)
                    for s, label in zip(spec, a["subcategories"], strict=True)
                }
                for a in annotations
            ]
            classes = [names[a["category_id"]] for a in annotations]
            by_file[Path(record["file_name"]).name] = [*zip(classes, masks, labels, strict=True)]
    return result


def check_masks_and_classes(loaded: dict, scene: dict[str, list[View]]) -> None:
    """Every picture and object of the scene is there, in its order, with its class and mask."""
    assert {s: sorted(files) for s, files in loaded.items()} == {
        split: sorted(view.file_name for view in pictures) for split, pictures in scene.items()
    }
    for split, pictures in scene.items():
        for view in pictures:
            objects = loaded[split][view.file_name]
            assert [name for name, _, _ in objects] == [thing.name for thing in view.things]
            for (_, mask, _), thing in zip(objects, view.things, strict=True):
                assert (mask == mask_of(thing.polygons, view.height, view.width)).all()


def write_yolo(folder: Path, scene: dict[str, list[View]]) -> Path:
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
                lines.append(f"{numbers[thing.name]} {' '.join(values)}\n")
            label = folder / "labels" / split / Path(view.file_name).with_suffix(".txt")
            label.write_bytes("".join(lines).encode())
    data = folder / "data.yaml"
    splits = "".join(f"{split}: images/{split}\n" for split in scene)
    data.write_text(f"path: .\n{splits}nc: 2\nnames:\n  0: cat\n  3: dog\n")
    return data


def labelme_shape(label: str, points: list, **fields) -> dict:
    usual = {"group_id": None, "description": "", "shape_type": "polygon", "flags": {}}
    return {"label": label, "points": points, **usual, "mask": None, **fields}


def pairs(polygon: list[float]) -> list[list[float]]:
    return [list(point) for point in zip(polygon[0::2], polygon[1::2], strict=True)]


def png_base64(mask: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def write_labelme_file(file: Path, view: View, shapes: list[dict], **fields) -> None:
    document = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imageData": None}
    document |= {"imagePath": view.file_name, "imageHeight": view.height, "imageWidth": view.width}
    document |= fields
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2), encoding="utf-8")


def write_labelme(folder: Path, scene: dict[str, list[View]]) -> dict[str, Path]:
    """A folder per split; yes/no flags, and X-AnyLabeling's attributes for the colour."""
    for split, pictures in scene.items():
        for view in pictures:
            save_picture(folder / split / view.file_name, view)
            shapes = []
            for number, thing in enumerate(view.things):
                fields = {
                    "flags": {} if thing.occluded is MISSING else {"occluded": thing.occluded},
                    "attributes": {} if thing.colour is MISSING else {"colour": thing.colour},
                    "group_id": number if len(thing.polygons) > 1 else None,
                }
                shapes += [labelme_shape(thing.name, pairs(p), **fields) for p in thing.polygons]
            write_labelme_file((folder / split / view.file_name).with_suffix(".json"), view, shapes)
    return {split: folder / split for split in scene}


def coco_document(pictures: list[View], attributes_of, **header) -> dict:
    """COCO's lists; ids have gaps, as in files that somebody thinned out."""
    images, annotations = [], []
    for number, view in enumerate(pictures):
        image = {"id": 10 * number + 7, "file_name": view.file_name, "license": 0}
        images.append({**image, "width": view.width, "height": view.height, "date_captured": 0})
        for thing in view.things:
            annotations.append(
                {
                    "id": 3 * len(annotations) + 5,
                    "image_id": image["id"],
                    "category_id": 4 + 5 * CLASSES.index(thing.name),
                    "segmentation": thing.polygons,
                    "iscrowd": 0,
                    **attributes_of(thing),
                }
            )
    categories = [
        {"id": 4 + 5 * i, "name": name, "supercategory": ""} for i, name in enumerate(CLASSES)
    ]
    lists = {"images": images, "annotations": annotations, "categories": categories}
    return {"licenses": [], "info": {}, **lists, **header}


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


def label_studio_results(view: View, thing: Thing, number: int) -> list[dict]:
    """A region for each polygon, and its choices."""
    results = []
    for part, polygon in enumerate(thing.polygons):
        common = {"id": f"r{number}-{part}", "to_name": "image", "image_rotation": 0}
        common |= {"original_width": view.width, "original_height": view.height}
        points = [[100 * x / view.width, 100 * y / view.height] for x, y in pairs(polygon)]
        outline = {"points": points, "closed": True}
        value = {**outline, "polygonlabels": [thing.name]}
        results.append({**common, "from_name": "label", "type": "polygonlabels", "value": value})
        for name, choice in (("colour", thing.colour), ("occluded", thing.occluded)):
            if choice is not MISSING:
                value = {**outline, "choices": [{True: "yes", False: "no"}.get(choice, choice)]}
                results.append({**common, "from_name": name, "type": "choices", "value": value})
    return results


def write_label_studio(folder: Path, scene: dict[str, list[View]]) -> dict[str, Path]:
    """A JSON for each split and all pictures in `images`, uploaded under longer names."""
    inputs = {}
    for split, pictures in scene.items():
        tasks = []
        for view in pictures:
            save_picture(folder / "images" / view.file_name, view)
            regions = [label_studio_results(view, t, i) for i, t in enumerate(view.things)]
            annotation = {"was_cancelled": False, "result": [r for rs in regions for r in rs]}
            data = {"image": f"/data/upload/1/{quote(f'0a1b2c3d-{view.file_name}')}"}
            tasks.append({"id": len(tasks) + 1, "data": data, "annotations": [annotation]})
        inputs[split] = folder / f"{split}_tasks.json"
        inputs[split].write_text(json.dumps(tasks))
    return inputs


def brush_bytes(mask: np.ndarray) -> list[int]:
    """Label Studio's brush of a mask: a single run of values one by one."""
    values = np.zeros((*mask.shape, 4), dtype=np.uint8)
    values[mask] = (200, 30, 30, 255)
    values = values.reshape(-1)
    bits = f"{len(values):032b}{7:05b}" + f"{15:04b}" * 4  # 8 bits a value, 16 a length
    bits += f"000{len(values) - 1:016b}" + "".join(f"{v:08b}" for v in values)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def write_cvat(folder: Path, scene: dict[str, list[View]]) -> dict[str, Path]:
    """An XML for each split and the pictures in `images/<split>`, as CVAT exports a task."""
    inputs = {}
    for split, pictures in scene.items():
        root = Element("annotations")
        SubElement(root, "version").text = "1.1"
        for view in pictures:
            save_picture(folder / "images" / split / view.file_name, view)
            size = {"width": str(view.width), "height": str(view.height)}
            image = SubElement(root, "image", name=view.file_name, subset=split, **size)
            for number, thing in enumerate(view.things, start=1):
                for polygon in thing.polygons:
                    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in pairs(polygon))
                    shape = SubElement(
                        *(image, "polygon"),
                        label=thing.name,
                        points=points,
                        group_id=str(number),
                        occluded="1" if thing.occluded is True else "0",
                    )
                    if thing.colour is not MISSING:
                        SubElement(shape, "attribute", name="colour").text = thing.colour
        inputs[split] = folder / f"{split}.xml"
        ElementTree(root).write(inputs[split], encoding="utf-8", xml_declaration=True)
    return inputs


def write_via(folder: Path, scene: dict[str, list[View]]) -> dict[str, Path]:
    """A project for each split, with pictures beside it, as VIA 2 saves it."""
    inputs = {}
    for split, pictures in scene.items():
        metadata = {}
        for view in pictures:
            save_picture(folder / split / view.file_name, view)
            regions = []
            for thing in view.things:
                (polygon,) = thing.polygons
                shape = {"all_points_x": polygon[0::2], "all_points_y": polygon[1::2]}
                attributes = {"class": thing.name}
                if thing.colour is not MISSING:
                    attributes["colour"] = thing.colour
                if thing.occluded is not MISSING:
                    attributes["occluded"] = "yes" if thing.occluded else "no"
                shape["name"] = "polygon"
                regions.append({"shape_attributes": shape, "region_attributes": attributes})
            entry = {"filename": view.file_name, "size": 100, "regions": regions}
            metadata[f"{view.file_name}100"] = {**entry, "file_attributes": {"caption": ""}}
        inputs[split] = folder / split / "project.json"
        project = {"_via_settings": {}, "_via_img_metadata": metadata, "_via_attributes": {}}
        inputs[split].write_text(json.dumps(project))
    return inputs


def write_masks(folder: Path, scene: dict[str, list[View]]) -> dict[str, Path]:
    """A folder for each split; a mask for each object, or a map where there is none."""
    for split, pictures in scene.items():
        for view in pictures:
            save_picture(folder / split / "images" / view.file_name, view)
            masks = folder / split / "masks" / Path(view.file_name).stem
            masks.mkdir(parents=True)
            for number, thing in enumerate(view.things, start=1):
                mask = mask_of(thing.polygons, view.height, view.width)
                Image.fromarray(mask).save(masks / f"{number}_{thing.name}.png")
            if not view.things:
                Image.new("I;16", (view.width, view.height)).save(masks.with_name("empty_id.png"))
    return {split: folder / split for split in scene}


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
    if format_name == "label-studio":
        return write_label_studio(folder, scene), {}
    if format_name == "cvat":
        return write_cvat(folder, scene), {}
    if format_name == "via":
        return write_via(folder, scene), {}
    if format_name == "masks":
        return write_masks(folder, scene), {}
    if format_name == "coco":
        return write_coco(folder, scene, cvat_attributes)
    header = {"attributes": LISTED, "attr_type_to_attr_idxs": {"color": [1, 2]}}
    return write_coco(folder, scene, listed_attributes, **header)


class Case:
    """A dataset of another format on disk, and what its import as the dataset `tiny` gives.

    Args:
        inputs, images: by split, as for `import_dataset`.
        out: folder to import to.
    """

    def __init__(
        self, format_name: str, out: Path, inputs: dict[str, Path], images: dict | None = None
    ) -> None:
        self.format_name, self.out, self.inputs, self.images = format_name, out, inputs, images

    def edit(self, split: str, change: Callable[[dict], object]) -> None:
        edit(self.inputs[split], change)

    def run(self, images: dict | None = None, **options) -> Imported:
        return import_dataset(
            self.format_name,
            self.inputs,
            self.out,
            images=self.images if images is None else images,
            options=ImportOptions(**options),
            dataset_name="tiny",
            force=True,
        )

    def refuses(self, match: str, images: dict | None = None, **options) -> None:
        """Checks that the import fails with a message, and writes nothing."""
        shutil.rmtree(self.out, ignore_errors=True)
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            self.run(images, **options)
        assert not self.out.exists()

    def skips_unusable(self) -> None:
        """Checks that what is not usable can be left out, and the scene of `views` is the rest."""
        done = self.run(unusable="skip")
        check_masks_and_classes(self.load(), views())
        assert any(note.startswith("objects left out as ") for note in done.notes)

    def load(self) -> dict[str, dict[str, list[tuple[str, np.ndarray, dict]]]]:
        return load(self.out / "tiny.yaml")

    def labels(self) -> list[dict]:
        """The labels of all objects, in the order of the JSON."""
        files = [objects for by_file in self.load().values() for objects in by_file.values()]
        return [labels for objects in files for _, _, labels in objects]

    def document(self, split: str) -> dict:
        return json.loads((self.out / f"{split}.json").read_text())
