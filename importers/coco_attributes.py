"""Imports COCO JSON whose annotations carry `attributes`, as CVAT and datumaro write it.

Each annotation may have `"attributes": {"occluded": false, "colour": "red"}`. Yes/no values, texts
and lists of texts become subcategories. Numbers, free text, what never varies and what CVAT keeps
for itself (`track_id`, `keyframe`, `rotation`) do not, unless they are asked for by name. Other
keys of an annotation are named, and read where `ImportOptions.attributes_keys` lists them: COCO
Annotator's `metadata`, V7's `extra`, what FiftyOne writes beside `area`. A missing
attribute is unknown unless `ImportOptions.absent` says otherwise; an empty text, null and CVAT's
`__undefined__` are always unknown: the annotator has not chosen. Files that already have this
project's `subcategories` need no import, and are refused. `area`, `bbox` and `iscrowd` may be
missing, as they are in files of other tools.

Source: cocodataset.org, "Data format"; docs.cvat.ai, "MS COCO"; the JSON of datumaro 1.13, which
CVAT exports with.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mask2former_mt.importers.annotation_keys import OtherKeys, add_values
from mask2former_mt.importers.attribute_choice import Survey
from mask2former_mt.importers.source import Request, Source, SourceObject, SourceSplit, Texts

from mask2former_mt.dataset.document import read_document
from mask2former_mt.dataset.json_values import as_id, is_int
from mask2former_mt.dataset.picture_search import PictureSearch
from mask2former_mt.dataset.problems import shown

# Of an annotation; null is as good as none.
OWN_KEYS = ("id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd")
_ATTRIBUTES_KEY = "attributes"
# Of Fashionpedia and PACO.
_LISTED_KEY = "attribute_ids"


def read_coco_attributes(request: Request) -> Source:
    """Reads COCO JSON with `attributes`: `inputs` are JSON files; see `Request`."""
    files, survey = CocoFiles(request), Survey()
    for split, document in files.documents.items():
        if "subcategories" in document:
            raise ValueError(
                f"{request.inputs[split]} has 'subcategories' already and needs no import; name it "
                "in a dataset YAML as it is"
            )

    others = OtherKeys((*OWN_KEYS, _ATTRIBUTES_KEY, _LISTED_KEY), request)

    def attributes_of(entry: dict, origin: str) -> dict[str, Texts]:
        attributes = others.read(entry, origin)
        if entry.get(_LISTED_KEY):
            request.report.note(
                f"annotations with {_LISTED_KEY!r}, which the formats fashionpedia and paco read",
                origin,
            )
        listed = entry.get(_ATTRIBUTES_KEY)
        if isinstance(listed, dict):
            for name, value in listed.items():
                add_values(attributes, name, value)
        elif listed is not None:
            request.report.refuse(
                f'{origin}: {_ATTRIBUTES_KEY!r} must be an object such as {{"colour": "red"}}, got '
                f"{shown(listed)}"
            )
        return survey.add(attributes)

    source = files.source(attributes_of)
    others.refuse_unseen()
    request.report.raise_if_refused()
    source.attributes = survey.choose(request.options, request.report)
    return source


class CocoFiles:
    """The COCO-like files of a dataset, one per split.

    Args:
        request: `inputs` are JSON files; an image folder that is missing is looked for beside its
            JSON.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a COCO-like file.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.documents: dict[str, dict] = {}
        for split, file in request.input_files():
            self.documents[split] = read_document(file)

    def named_entries(self, split: str, key: str) -> dict[int, dict]:
        """The entries of a list such as `attributes` by their id; broken ones are reported.

        Raises:
            ValueError: no such list.
        """
        file, document = self._request.inputs[split], self.documents[split]
        entries = document.get(key)
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            got = f"a {type(entries).__name__}" if key in document else "no such key"
            if isinstance(entries, list):
                got = "a list of other things"
            raise ValueError(
                f"{file}: {key!r} must be a list of JSON objects, got {got}; "
                f"its keys are {sorted(document)}"
            )
        named: dict[int, dict] = {}
        for entry in entries:
            number, name = entry.get("id"), entry.get("name")
            if not is_int(number) or not isinstance(name, str) or not name:
                self._request.report.refuse(
                    f'{file}: an entry of {key!r} must have an integer "id" and a "name", got '
                    f"{shown(entry)}"
                )
            elif named.setdefault(number, entry)["name"] != name:
                self._request.report.refuse(
                    f"{file}: id {number} is used twice in {key!r}, for {named[number]['name']!r} "
                    f"and {name!r}; ids must be unique"
                )
        return named

    def source(
        self,
        attributes_of: Callable[[dict, str], dict[str, Texts]],
        *,
        is_wanted: Callable[[dict], bool] = lambda entry: True,
        kept_image_keys: tuple[str, ...] = (),
    ) -> Source:
        """Pictures, classes and objects; `Source.attributes` is the caller's to fill in.

        Args:
            attributes_of: (annotation, origin) -> what it says of its attributes.
            is_wanted: whether an annotation is an object of this dataset.
            kept_image_keys: further keys with lists of ids in the entries of `images`.
        """
        # The files' lists together; whether they contradict each other is for the reader to say.
        categories: list[dict] = []
        named: list[dict] = []  # the same, without what may differ
        splits = []
        for split, file in self._request.inputs.items():
            document = self.documents[split]
            root = self._image_root(split)
            for entry in document["categories"]:
                number = as_id(entry.get("id"))
                category = {"id": entry.get("id") if number is None else number}
                category["name"] = entry.get("name")
                if category not in named:
                    named.append(category)
                    parent = {key: entry[key] for key in ("supercategory",) if key in entry}
                    categories.append(category | parent)
            images = [_image(entry, root, kept_image_keys) for entry in document["images"]]
            objects = []
            for entry in filter(is_wanted, document["annotations"]):
                origin = f"{file}: annotation {shown(entry.get('id'))}"
                kept = self._kept(entry, origin)
                if kept is not None:
                    objects.append(SourceObject(origin, kept, attributes_of(entry, origin)))
            splits.append(SourceSplit(split, file, root, images, objects))
        return Source(categories, splits, list(self._request.inputs.values()), is_coco=True)

    def _image_root(self, split: str) -> Path:
        if split in self._request.images:
            folder = self._request.images[split]
            if not os.path.isdir(folder):
                raise FileNotFoundError(f"--images: {folder} is not a folder")
            return Path(os.path.abspath(folder))
        file, entries = self._request.inputs[split], self.documents[split]["images"]
        names = [entry["file_name"] for entry in entries if isinstance(entry.get("file_name"), str)]
        beside = Path(os.path.abspath(file)).parent
        candidates = [beside, beside / "images", beside.parent / "images"]
        # CVAT: annotations/instances_<subset>.json and images/<subset>/.
        subset = Path(file).stem.partition("_")[2]
        if subset:
            candidates.append(beside.parent / "images" / subset)
        for folder in candidates:
            if names and os.path.isfile(folder / _portable(names[0], folder)):
                return folder
        for folder in candidates:
            if names and PictureSearch(folder).find(names[0]):
                return folder
        raise FileNotFoundError(
            f"{file}: the pictures are in none of {', '.join(map(str, candidates))}; give their "
            "folder with --images"
        )

    def _kept(self, entry: dict, origin: str) -> dict | None:
        """What the JSON keeps of an annotation; None if it has no mask."""
        if entry.get("segmentation") in (None, [], {}):
            self._request.report.unusable(
                origin,
                "it has a box but no mask ('segmentation' is empty); draw the outline",
                "boxes without a mask",
            )
            return None
        return {key: entry[key] for key in OWN_KEYS if entry.get(key) is not None}


def _image(entry: dict, root: Path, kept_keys: tuple[str, ...]) -> dict:
    kept = {key: entry[key] for key in kept_keys if is_int_list(entry.get(key))}
    name = entry.get("file_name")
    if isinstance(name, str):
        name = _portable(name, root)
    size = {key: entry.get(key) for key in ("height", "width")}
    return {**kept, "id": entry.get("id"), "file_name": name, **size}


def _portable(name: str, root: Path) -> str:
    """A picture's name; exports from Windows have backslashes between the folders."""
    has_backslashes = "\\" in name and not os.path.isfile(os.path.join(root, name))
    return name.replace("\\", "/") if has_backslashes else name


def is_int_list(value: object) -> bool:
    """Whether a JSON value is a list of integers, as those of attribute ids are."""
    return isinstance(value, list) and all(map(is_int, value))
