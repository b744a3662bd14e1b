"""From pictures whose objects are labelled by texts to a source whose classes have numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from mask2former_mt.importers.attribute_choice import Survey
from mask2former_mt.importers.picture_files import common_folder
from mask2former_mt.importers.source import Request, Source, SourceSplit, Texts

from mask2former_mt.dataset.problems import shown


class LabelledObject(NamedTuple):
    """An object as its tool has it: class, outline, and the texts of its attributes."""

    origin: str
    label: str
    segmentation: list | dict
    attributes: dict[str, Texts]


class LabelledPicture(NamedTuple):
    """A picture, its size upright, and its objects."""

    file: Path
    height: int
    width: int
    objects: list[LabelledObject]


def picture_attributes(
    attributes: Mapping[str, list], origin: str, request: Request
) -> dict[str, list]:
    """The attributes of a whole picture that each of its objects gets: all on request, or none."""
    if attributes and not request.options.picture_attributes:
        request.report.note(
            "pictures with attributes of the whole picture, which are not read "
            "(--picture-attributes gives them to each object)",
            f"{origin}: {shown(attributes)}",
        )
        return {}
    return dict(attributes)


def labelled_source(
    pictures: Mapping[str, list[LabelledPicture]],
    files: Iterable[Path],
    survey: Survey,
    request: Request,
) -> Source:
    """Numbers the classes, in alphabetical order from 1, and the pictures, by path.

    Args:
        pictures: by split.
        files: everything that was read.
        survey: of the objects' attributes.
        request: what was asked for.

    Raises:
        ValueError: no object at all, and so no class.
    """
    request.report.raise_if_refused()
    labels = {item.label for found in pictures.values() for p in found for item in p.objects}
    if not labels:
        inputs = ", ".join(map(str, request.inputs.values()))
        why = "".join(f"; {note}" for note in request.report.notes)
        raise ValueError(f"{inputs}: no object has a mask and a label{why}")
    category_ids = {label: number for number, label in enumerate(sorted(labels), start=1)}
    splits = []
    for name, found in pictures.items():
        root = common_folder([picture.file for picture in found]) if found else Path.cwd()
        split = SourceSplit(name, request.inputs[name], root)
        previous = None
        for picture in sorted(found, key=lambda picture: picture.file):
            if picture.file == previous:
                request.report.refuse(
                    f"{request.inputs[name]}: {picture.file} is annotated twice; keep one of them"
                )
            previous = picture.file
            split.add_picture(picture.file, picture.height, picture.width)
            for item in picture.objects:
                split.add_object(
                    item.origin, category_ids[item.label], item.segmentation, item.attributes
                )
        splits.append(split)
    return Source(
        categories=[{"id": number, "name": label} for label, number in category_ids.items()],
        splits=splits,
        files=list(files),
        attributes=survey.choose(request.options, request.report),
    )
