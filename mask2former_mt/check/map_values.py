"""What is wrong with the pixels of a map of classes or segments, and the objects that they show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mask2former_mt.dataset.label_maps import read_class_map, read_segment_ids
from mask2former_mt.dataset.map_split import CLASS_MAP, SEGMENT_MAP
from mask2former_mt.dataset.problems import ERROR, Problem, shown


def scan_map(
    record: Mapping, num_subcategories: int
) -> tuple[list[Problem], list[tuple[dict, float]]]:
    """Reads the map of a dataset dict of `map_split`.

    Args:
        record: the dataset dict.
        num_subcategories: S.

    Returns:
        What is wrong with it; and its objects as annotations with `category_id`, `iscrowd` and
        `subcategories`, each with its area in pixels. A map that is missing, which the reader
        tells, has neither.
    """
    path, image_id = record.get(CLASS_MAP) or record[SEGMENT_MAP], record["image_id"]

    def problem(kind: str, message: str, remedy: str = "") -> Problem:
        return Problem(ERROR, kind, path, message, remedy, image_id)

    try:
        numbers_HW = (read_class_map if CLASS_MAP in record else read_segment_ids)(path)
    except FileNotFoundError:
        return [], []
    except ValueError as error:
        return [problem("bad-map", str(error))], []
    numbers, areas = np.unique(numbers_HW, return_counts=True)
    area_of = dict(zip(numbers.tolist(), areas.tolist(), strict=True))
    if CLASS_MAP in record:
        classes, ignored = record["semantic_classes"], record["ignore_label"]
        area_of.pop(ignored, None)
        listed = {
            number: {"category_id": class_, "iscrowd": 0, "subcategories": [-1] * num_subcategories}
            for number, class_ in enumerate(classes)
        }
        problems = [
            problem(
                "map-value",
                f"number {number} on {area} pixels is no class; listed are 0 to "
                f"{len(classes) - 1}, and {ignored} for what is ignored",
                "add it to the YAML's 'classes', or write another number",
            )
            for number, area in area_of.items()
            if number not in listed
        ]
    else:
        area_of.pop(0, None)
        listed = {segment["id"]: segment for segment in record["segments_info"]}
        problems = [
            problem(
                "segment-without-pixels",
                f"segment {segment_id} has no pixel in the map",
                "remove it from the JSON, or draw it",
            )
            for segment_id in listed
            if segment_id not in area_of
        ]
        if unlisted := {s: area for s, area in area_of.items() if s not in listed}:
            message = f"segments of the map are not listed, by id with their pixels: {unlisted}"
            remedy = "add them to the JSON's 'segments_info', or make them void, 0"
            problems.append(problem("unlisted-segment", shown(message)[1:-1], remedy))
    return problems, [(listed[n], area) for n, area in area_of.items() if n in listed]
