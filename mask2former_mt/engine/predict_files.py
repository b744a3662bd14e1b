"""Picture files to overlays and one COCO-style JSON."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask as mask_util
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from tqdm import tqdm

from mask2former_mt.data.catalog import spec_of
from mask2former_mt.data.mapper import read_image
from mask2former_mt.engine.predictor import Predictor
from mask2former_mt.evaluation.results import instances_to_results
from mask2former_mt.structures import SCORES
from mask2former_mt.visualization import (
    contact_sheet,
    draw_ground_truth,
    draw_predictions,
    side_by_side,
)

IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
RESULTS_NAME = "predictions.json"
SHEET_CELLS = 24  # at most so many overlays on a contact sheet
SHEET_CELL_WIDTH = 720  # pixels


def find_images(inputs: Sequence[str | os.PathLike]) -> list[Path]:
    """The pictures that paths, folders and globs stand for, each once, in their order.

    Args:
        inputs: a file is taken as it is; of a folder (not of those in it) and of a glob, the files
            that are named like pictures, sorted.

    Raises:
        FileNotFoundError: a path that does not exist, or a folder or glob without pictures.
        ValueError: a file that is not a picture, by its first bytes.
    """
    found: dict[Path, Path] = {}
    for entry in map(os.fspath, inputs):
        path = Path(entry)
        if path.is_file():
            files = [path]
        else:
            if path.is_dir():
                candidates = list(path.iterdir())
            elif glob.has_magic(entry):
                candidates = [Path(name) for name in glob.glob(entry, recursive=True)]
            else:
                raise FileNotFoundError(f"input {entry} does not exist")
            files = sorted(
                file
                for file in candidates
                if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
            )
            if not files:
                raise FileNotFoundError(
                    f"input {entry}: no pictures there ({' '.join(sorted(IMAGE_SUFFIXES))})"
                )
        for file in files:
            found.setdefault(file.resolve(), file)
    for file in found.values():
        _check_is_picture(file)
    return list(found.values())


def predict_files(
    predictor: Predictor,
    files: Sequence[Path],
    output_dir: str | os.PathLike,
    *,
    score_threshold: float = 0.5,
    ground_truth: str | None = None,
    sheet: str | os.PathLike | None = None,
) -> dict:
    """Writes an overlay per picture, and after the last one the JSON of all predictions.

    An interrupted call leaves whole overlays and no new JSON.

    Args:
        predictor: gives instances, and the names for them.
        files: pictures, as `find_images` gives them.
        output_dir: made where missing; gets `<stem>.png` (a number is added where stems repeat)
            and `predictions.json`: COCO's `images`, `annotations` (the results JSON's entries,
            with `id`, `area` and `iscrowd`), `categories`, and `subcategories`.
        score_threshold: in [0, 1]; instances below are neither drawn nor written.
        ground_truth: name of a registered dataset that holds the files; its annotations are then
            drawn beside the predictions, and its image ids are used.
        sheet: where to write the first `SHEET_CELLS` overlays as one picture.

    Returns:
        {"pictures": paths of the overlays, "results": path of the JSON, "instances": how many}.

    Raises:
        ValueError: output among the inputs, a damaged picture, or a dataset that does not fit.
    """
    output_dir = Path(output_dir)
    check_output(files, output_dir, sheet)
    annotated = None if ground_truth is None else _annotated(predictor, files, ground_truth)
    output_dir.mkdir(parents=True, exist_ok=True)
    images, annotations, pictures, cells = [], [], [], []
    for i, (file, name) in enumerate(
        zip(tqdm(files, desc="predicting", unit="image"), overlay_names(files), strict=True)
    ):
        image = read_image(file, "RGB")
        instances = predictor(image)
        instances = instances[instances.get(SCORES) >= score_threshold]
        image_id = i + 1 if annotated is None else annotated[i]["image_id"]
        height, width = image.shape[:2]
        images.append(
            {"id": image_id, "file_name": file.as_posix(), "height": height, "width": width}
        )
        annotations += instances_to_results(
            instances, image_id, spec=predictor.spec, category_ids=predictor.category_ids
        )
        words = {"class_names": predictor.class_names, "spec": predictor.spec}
        picture = draw_predictions(image, instances, score_threshold=score_threshold, **words)
        if annotated is not None:
            truth = draw_ground_truth(image, annotated[i]["annotations"], **words)
            picture = side_by_side(truth, picture, ("ground truth", "prediction"))
        pictures.append(output_dir / name)
        write_picture(pictures[-1], picture)
        if sheet is not None and len(cells) < SHEET_CELLS:
            cells.append(contact_sheet([picture], 1, cell_width=SHEET_CELL_WIDTH, gap=0))
    if sheet is not None:
        columns = 2 if len(cells) > 1 else 1
        write_picture(
            sheet, contact_sheet(cells, columns, titles=[file.name for file in files[: len(cells)]])
        )
    for i, annotation in enumerate(annotations, start=1):
        area = float(mask_util.area(annotation["segmentation"]))
        annotation.update(id=i, area=area, iscrowd=0)
    results = {
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": category_id, "name": name}
            for category_id, name in zip(predictor.category_ids, predictor.class_names, strict=True)
        ],
        "subcategories": predictor.spec.to_json(),
    }
    results_file = output_dir / RESULTS_NAME
    _write_whole(results_file, json.dumps(results, allow_nan=False).encode("utf-8"))
    return {"pictures": pictures, "results": results_file, "instances": len(annotations)}


def overlay_names(files: Sequence[Path]) -> list[str]:
    """A name `<stem>.png` for each file, no two alike even where letter case does not count."""
    stems = [file.stem for file in files]
    # No number may make a name that another file has from its stem.
    taken = {stem.casefold() for stem in stems}
    names, seen = [], set()
    for stem in stems:
        name = stem
        if stem.casefold() in seen:
            count = 2
            while (name := f"{stem}_{count}").casefold() in taken:
                count += 1
        seen.add(stem.casefold())
        taken.add(name.casefold())
        names.append(f"{name}.png")
    return names


def check_output(
    files: Sequence[Path], output_dir: str | os.PathLike, sheet: str | os.PathLike | None = None
) -> None:
    """Refuses to write where something else would be lost.

    Raises:
        ValueError: the output folder holds an input or is a file, or the sheet is an input.
    """
    output_dir = Path(output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"output {output_dir} must be a folder, got a file")
    for file in files:
        if file.resolve().parent == output_dir.resolve():
            raise ValueError(
                f"output folder {output_dir} holds the input {file}, which an overlay could "
                "replace; choose another folder"
            )
        if sheet is not None and file.resolve() == Path(sheet).resolve():
            raise ValueError(f"the contact sheet {sheet} would replace an input; rename it")


def write_picture(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Writes uint8 RGB (H, W, 3) as PNG, whole or not at all; makes the folder where missing."""
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]))
    assert encoded
    _write_whole(Path(path), data.tobytes())


def _write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _check_is_picture(file: Path) -> None:
    # Only the header: quick enough for any folder, and no one waits an hour to be told.
    try:
        with Image.open(file):
            pass
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"image {file} cannot be read: {error}") from error


def _annotated(predictor: Predictor, files: Sequence[Path], dataset: str) -> list[dict]:
    """The dataset dict of each file.

    Raises:
        ValueError: a dataset that is not registered, has other labels or lacks a file.
    """
    spec = spec_of(dataset)
    class_names = list(MetadataCatalog.get(dataset).get("thing_classes", ()))
    for what, expected, got in (
        ("classes", predictor.class_names, class_names),
        ("subcategories", predictor.spec.to_json(), spec.to_json()),
    ):
        if got != expected:
            raise ValueError(
                f"ground truth {dataset!r} must have the model's {what} {expected}, got {got}"
            )
    known = {Path(record["file_name"]).resolve(): record for record in DatasetCatalog.get(dataset)}
    for file in files:
        if file.resolve() not in known:
            raise ValueError(
                f"input {file} is not among the {len(known)} images of dataset {dataset!r}"
            )
    return [known[file.resolve()] for file in files]
