"""Imports COCO JSON whose annotations carry `attributes`, as CVAT and datumaro write it.

Each annotation may have `"attributes": {"occluded": false, "colour": "red"}`. Yes/no values, texts
and lists of texts become subcategories; numbers, free text, what never varies and CVAT's own
bookkeeping (`track_id`, `keyframe`, `rotation`) do not unless they are asked for by name. A missing
attribute is unknown unless `ImportOptions.absent` says otherwise; an empty text, null and CVAT's
`__undefined__` are always unknown: the annotator has not chosen. Files that already have this
project's `subcategories` are left alone: they need no import.

Source: docs.cvat.ai, "MS COCO"; the JSON that datumaro 1.13 writes, which CVAT exports with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mask2former_mt.importers.attribute_choice import Survey
from mask2former_mt.importers.coco_lists import CocoFiles
from mask2former_mt.importers.source import ImportOptions, Report, Source, Texts


def read_coco_attributes(
    inputs: Mapping[str, Path], images: Mapping[str, Path], options: ImportOptions, report: Report
) -> Source:
    """Reads COCO JSON with `attributes`.

    Args:
        inputs: JSON file by split.
        images: picture folder by split; a missing one is looked for beside the JSON.
        options: which attributes, and what of crowds and missing ones.
        report: gets what is wrong.

    Raises:
        FileNotFoundError: a file or folder.
        ValueError: not COCO, or attributes that cannot become subcategories.
    """
    files = CocoFiles(inputs, images, report)
    survey = Survey()

    def attributes_of(split: str, entry: dict, origin: str) -> dict[str, Texts] | None:
        attributes = entry.get("attributes")
        if attributes is None:
            return None
        if not isinstance(attributes, dict):
            report.refuse(
                f'{origin}: \'attributes\' must be an object such as {{"colour": "red"}}, got '
                f"{str(attributes)[:80]}"
            )
            return None
        return survey.add(attributes)

    for split, document in files.documents.items():
        if "subcategories" in document:
            raise ValueError(
                f"{inputs[split]} has 'subcategories' already and needs no import; name it in a "
                "dataset YAML as it is"
            )
    return files.source(options, attributes_of, lambda: survey.choose(options, report))
