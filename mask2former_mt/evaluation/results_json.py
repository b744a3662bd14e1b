"""Results JSON: COCO results whose every entry also carries the predicted subcategories."""

from __future__ import annotations

import json
import math
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

import msgspec
from detectron2.structures import Instances
from pycocotools import mask as mask_utils

from mask2former_mt.dataset.document import read_header
from mask2former_mt.files import write_json
from mask2former_mt.label_lists import Labels
from mask2former_mt.ops.encode_masks import encode_masks
from mask2former_mt.structures import (
    PRED_CLASSES,
    PRED_MASKS,
    PRED_RLES,
    PRED_SUBCATEGORIES,
    SCORES,
    SUBCATEGORY_SCORES,
    SubcategorySpec,
)

# N instances, H x W of the original image, S subcategories

_SPACE = re.compile(r"\s*")
_REMEDY = "it may be cut short, or no predictions; predict again"


def instances_to_results(
    instances: Instances, image_id: int | str, *, spec: SubcategorySpec, category_ids: Sequence[int]
) -> list[dict]:
    """Turns the predictions of one image into entries of the results JSON.

    Args:
        instances: `pred_masks` bool (N, H, W) at the original size, or `pred_rles` (N,), which are
            encoded already; `scores` (N,), `pred_classes` int64 (N,), and unless S = 0
            `pred_subcategories` int64 (N, S) and `subcategory_scores` float (N, S); on any device.
        image_id: the image's id in the dataset JSON.
        spec: the S subcategories, in the order of the columns.
        category_ids: the dataset's category id of each contiguous class.

    Returns:
        N dicts with `image_id`, `category_id`, `segmentation` (RLE, str counts), `bbox` (the
        mask's extent, xywh in pixels), `score` and `subcategories`
        `{name: {"value": name or None for none, "score": probability}}`.

    Raises:
        ValueError: a field that is missing or of another shape, a class or value out of range, or
            a score that is not finite.
    """
    is_encoded = instances.has(PRED_RLES)
    _check_fields(instances, f"image {image_id!r}", spec, PRED_RLES if is_encoded else PRED_MASKS)
    num_instances = len(instances)
    scores = instances.get(SCORES).tolist()
    classes = instances.get(PRED_CLASSES).tolist()
    values_NS: list[list[int]] = [[] for _ in range(num_instances)]
    value_scores_NS: list[list[float]] = [[] for _ in range(num_instances)]
    if len(spec):
        values_NS = instances.get(PRED_SUBCATEGORIES).tolist()
        value_scores_NS = instances.get(SUBCATEGORY_SCORES).tolist()

    rles = list(instances.get(PRED_RLES)) if is_encoded else encode_masks(instances.get(PRED_MASKS))
    # From the encoded masks and not from pred_boxes, so that box and mask can never disagree.
    boxes = mask_utils.toBbox(rles).tolist() if rles else []
    results = []
    for i in range(num_instances):
        where = f"image {image_id!r}, instance {i}"
        if not 0 <= classes[i] < len(category_ids):
            raise ValueError(
                f"{where}: {PRED_CLASSES} must be in [0, {len(category_ids) - 1}], "
                f"got {classes[i]}; the model and the dataset differ in their classes"
            )
        if not all(math.isfinite(score) for score in (scores[i], *value_scores_NS[i])):
            raise ValueError(
                f"{where}: scores must be finite, got {scores[i]} and {value_scores_NS[i]}; "
                "the weights may hold NaN, check that training did not diverge"
            )
        results.append(
            {
                "image_id": image_id,
                "category_id": category_ids[classes[i]],
                "segmentation": rles[i],
                "bbox": boxes[i],
                "score": scores[i],
                "subcategories": {
                    s.name: {"value": s.value_name(value), "score": score}
                    for s, value, score in zip(spec, values_NS[i], value_scores_NS[i], strict=True)
                },
            }
        )
    return results


def _check_fields(
    instances: Instances, image: str, spec: SubcategorySpec, masks_field: str
) -> None:
    """Refuses predictions with a field that is missing or of another shape."""
    fields = [masks_field, SCORES, PRED_CLASSES]
    if len(spec):
        fields += [PRED_SUBCATEGORIES, SUBCATEGORY_SCORES]
    for field in fields:
        if not instances.has(field):
            raise ValueError(
                f"{image}: the predictions have no field {field!r}; with subcategories "
                f"{list(spec.names)} they need {fields}, as MultiTaskMaskFormer gives them"
            )
    num_instances, (height, width) = len(instances), instances.image_size
    if masks_field == PRED_MASKS:
        shape = tuple(instances.get(PRED_MASKS).shape)
        if shape != (num_instances, height, width):
            raise ValueError(
                f"{image}: {PRED_MASKS} must be ({num_instances}, {height}, {width}), got {shape}; "
                "resize the masks to the original image"
            )
    for field in (PRED_SUBCATEGORIES, SUBCATEGORY_SCORES) if len(spec) else ():
        shape = tuple(instances.get(field).shape)
        if shape != (num_instances, len(spec)):
            raise ValueError(
                f"{image}: {field} must be ({num_instances}, {len(spec)}), one column for each of "
                f"{list(spec.names)}, got {shape}"
            )


def read_predictions(path: str | os.PathLike) -> Iterator[dict]:
    """Reads the entries of a file of predictions, one at a time; its text is held in memory.

    Args:
        path: a JSON list of entries, as the evaluation writes it; entries one after another, for
            example one in each line; or an object with a list `annotations`, as `tools/predict.py`
            writes it.

    Yields:
        The entries, unchecked.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is not JSON, is cut short or holds something else; with the place.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"predictions {path} do not exist or are no file")
    try:
        text = _Text(path, path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: {error}; {_REMEDY}") from error
    if text.take("["):
        if not text.take("]"):
            yield text.object("an object, the next entry")
            while text.take(","):
                yield text.object("an object, the next entry")
            if not text.take("]"):
                raise text.error("',' or ']'")
        if not text.is_at_end():
            raise text.error("nothing after the list")
        return
    entry = text.object("a list or an object")
    if "annotations" in entry and "image_id" not in entry:
        if not isinstance(entry["annotations"], list):
            raise ValueError(f"{path}: 'annotations' must be a list of entries; {_REMEDY}")
        yield from entry["annotations"]
        return
    yield entry
    while not text.is_at_end():
        yield text.object("an object, the next entry")


class _Lists(msgspec.Struct):
    """What a file says of its labels; its other keys are stepped over."""

    categories: list[dict] = []
    subcategories: list[dict] = []


def labels_file_of(predictions: str | os.PathLike) -> pathlib.Path:
    """Where the labels are that a results JSON was written with."""
    return pathlib.Path(predictions).with_suffix(".labels.json")


def write_labels(labels: Labels, predictions: str | os.PathLike) -> None:
    """Writes `categories` and `subcategories`, as a dataset has them, beside a results JSON."""
    categories = zip(labels.category_ids, labels.class_names, strict=True)
    write_json(
        labels_file_of(predictions),
        {
            "categories": [{"id": id_, "name": name} for id_, name in categories],
            "subcategories": labels.spec.to_json(),
        },
    )


def read_labels_of(predictions: str | os.PathLike) -> Labels | None:
    """The labels that predictions were written with: beside the file, or in it.

    Returns:
        None where nothing says what the category ids are called.

    Raises:
        ValueError: lists that are damaged.
    """
    path = labels_file_of(predictions)
    is_beside = path.is_file()
    if not is_beside:
        path = pathlib.Path(predictions)
    try:
        lists = msgspec.json.decode(path.read_bytes(), type=_Lists)
    except (OSError, msgspec.MsgspecError) as error:
        if is_beside:
            raise ValueError(
                f"{path} must hold the lists 'categories' and 'subcategories': {error}; remove it "
                "to take category ids as the dataset's"
            ) from error
        return None  # a list of entries, or a file that its reader refuses
    if not lists.categories:
        return None
    header, faults = read_header(msgspec.structs.asdict(lists))
    if header is None:
        raise ValueError(f"{path}: {faults[0]}")
    return header.labels


class _Text:
    """JSON text, and the position of what is read next."""

    def __init__(self, path: pathlib.Path, text: str) -> None:
        self._path, self._text = path, text
        self._decoder, self._at = json.JSONDecoder(), 0

    def take(self, character: str) -> bool:
        """Steps over white space, and over the character if it comes next; says whether it does."""
        self._at = _SPACE.match(self._text, self._at).end()
        is_next = self._text.startswith(character, self._at)
        self._at += len(character) if is_next else 0
        return is_next

    def is_at_end(self) -> bool:
        self.take("")
        return self._at == len(self._text)

    def object(self, expected: str) -> dict:
        """The next value, which must be an object."""
        self.take("")
        if not self._text.startswith("{", self._at):
            raise self.error(expected)
        try:
            value, self._at = self._decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{self._path}: character {error.pos}: {error.msg}; {_REMEDY}"
            ) from error
        return value

    def error(self, expected: str) -> ValueError:
        got = self._text[self._at : self._at + 40] or "the end of the file"
        return ValueError(
            f"{self._path}: character {self._at}: expected {expected}, got {got!r}; {_REMEDY}"
        )
