"""Imports Fashionpedia: COCO JSON with a list of `attributes` and `attribute_ids` per annotation.

Every attribute has a supercategory ("length", "textile pattern", ...), which becomes a subcategory
with its attributes as values, including those never used. The ids have gaps. An object may have
several attributes of one supercategory; `ImportOptions.several` says what becomes of them. Where it
has none of them, the label is unknown unless `ImportOptions.absent` says otherwise: the file does
not tell "does not apply" (the neckline of a shoe) from "could not be seen" or "fits none of the
list". Where something is decidedly absent, Fashionpedia has a value for it, such as "no waistline".

Source: github.com/KMnP/fashionpedia-api, data/sample.json and README; Jia et al., "Fashionpedia",
ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mask2former_mt.importers.annotation_keys import OtherKeys
from mask2former_mt.importers.coco_attributes import OWN_KEYS, CocoFiles, is_int_list
from mask2former_mt.importers.source import Request, Source, Texts

from mask2former_mt.dataset.problems import shown

NO_OPTION = "the format coco reads it with --attributes-key {}"


def read_fashionpedia(request: Request) -> Source:
    """Reads Fashionpedia's annotation files, JSON; see `Request`."""
    files, report = CocoFiles(request), request.report
    # Supercategory and name by attribute id; the files of all splits list the same ones.
    meanings: dict[int, tuple[str, str]] = {}
    for split, file in request.inputs.items():
        for number, entry in files.named_entries(split, "attributes").items():
            group = entry.get("supercategory")
            if not isinstance(group, str) or not group:
                report.refuse(
                    f"{file}: attribute {number} ({entry['name']}) must have a 'supercategory', "
                    f"got {group!r}; that is what becomes a subcategory"
                )
            elif meanings.setdefault(number, (group, entry["name"])) != (group, entry["name"]):
                report.refuse(
                    f"{file}: attribute {number} is {entry['name']!r} of {group!r} here and "
                    f"{meanings[number][1]!r} of {meanings[number][0]!r} before; import files "
                    "of one release together"
                )
    listed: dict[str, dict[str, None]] = {}
    for _, (group, name) in sorted(meanings.items()):
        listed.setdefault(group, {})[name] = None

    others = OtherKeys((*OWN_KEYS, "attribute_ids"), request, NO_OPTION)

    def attributes_of(entry: dict, origin: str) -> dict[str, Texts]:
        others.read(entry, origin)
        numbers = entry.get("attribute_ids")
        if numbers is None:
            return {}
        if not is_int_list(numbers):
            report.refuse(
                f"{origin}: 'attribute_ids' must be a list of integers, got {shown(numbers)}"
            )
            return {}
        names: dict[str, dict[str, None]] = {}
        for number in numbers:
            if number in meanings:
                group, name = meanings[number]
                names.setdefault(group, {})[name] = None
            else:
                report.refuse(
                    f"{origin}: attribute id {number} is not listed in 'attributes'; "
                    "import the whole file as it was released"
                )
        return {group: tuple(texts) for group, texts in names.items()}

    chosen = choose_listed(listed, request.options.subcategories)
    source = files.source(attributes_of)
    source.attributes = chosen
    return source


def choose_listed(
    listed: Mapping[str, Iterable[str]], wanted: Sequence[str] | None
) -> dict[str, list[str]]:
    """The texts of the listed groups that are wanted, in that order, each once; None: all.

    Raises:
        ValueError: one that is not listed.
    """
    chosen = {}
    for name in listed if wanted is None else wanted:
        if name not in listed:
            raise ValueError(
                f"--subcategories: no attributes are listed under {name!r}; "
                f"there are {sorted(listed)}"
            )
        chosen[name] = list(dict.fromkeys(listed[name]))
    return chosen
