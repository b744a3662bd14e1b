"""Datasets changed at random, and what becomes of each: told, harmless, or taken in silence.

As a program it tries many, say 20,000 JSON files: python tests/dataset_fuzz.py 20000
"""

from __future__ import annotations

import argparse
import collections
import copy
import dataclasses
import json
import logging
import math
import random
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from dataset_to_check import DOCUMENTS, DatasetToCheck
from detectron2.data import DatasetCatalog, MetadataCatalog
from registered import restored_datasets
from scenes_on_disk import mapper_of

from mask2former_mt.check.check import check_dataset, find_splits
from mask2former_mt.check.check_report import report_json
from mask2former_mt.check.repair import write_clean
from mask2former_mt.data.rasterize import rasterize
from mask2former_mt.dataset.catalog import register_dataset_files, spec_of
from mask2former_mt.dataset.problems import ERROR, REPAIR
from mask2former_mt.dataset.split import SplitFiles, read_split
from mask2former_mt.evaluation import joint
from mask2former_mt.evaluation.ground_truth import GroundTruth, ground_truth_of

Random = random.Random

# --- changes of a JSON document -------------------------------------------------------------------

EDGES = [0, -1, 1, 10**9, 2**31, 2**63, 10**300, 10**400, -(10**400), 0.5, 1e-300, 1e308]
EDGES += [math.nan, math.inf, -math.inf]
OTHER_TYPES = [None, True, False, "", "5", "cat", 5, 2.5, [], [5], [[5, 5]], {}, {"id": 5}]
OTHER_TYPES += [{"style": "photo"}, [[1, 1, 9, 9, 5, 12]], [1, 1, 9, 9, 5, 12], {"size": [30, 40]}]
OTHER_TYPES += [{"size": [2**40, 2**40], "counts": "0"}, {"size": [30, 40], "counts": [600, 600]}]
TEXTS = [
    "cafe\u0301",
    "caf\u00e9",
    " cat",
    "CAT",
    "\u200bcat",
    "\U0001f431",
    "\x00",
    "a\nb",
    "x" * 500,
]


def places(value: object, path: tuple = ()) -> Iterator[tuple]:
    """The path of everything in a JSON value."""
    items = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, child in items:
        yield (*path, key)
        yield from places(child, (*path, key))


def pick(document: dict, rng: Random, fits: Callable[[object], bool]) -> tuple[object, object]:
    """The holder and the key of a random value that fits."""

    def at(path: tuple) -> object:
        value = document
        for key in path:
            value = value[key]
        return value

    *path, last = rng.choice([path for path in places(document) if fits(at(path))])
    return at(tuple(path)), last


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def replace(document: dict, rng: Random, fits: Callable, make: Callable) -> None:
    holder, key = pick(document, rng, fits)
    holder[key] = make(holder[key])


def other_type(document: dict, rng: Random) -> None:
    replace(document, rng, lambda _: True, lambda _: copy.deepcopy(rng.choice(OTHER_TYPES)))


def edge_number(document: dict, rng: Random) -> None:
    replace(document, rng, is_number, lambda _: rng.choice(EDGES))


def near_number(document: dict, rng: Random) -> None:
    replace(document, rng, is_number, lambda old: old + rng.choice([-2, -1, 1, 2, 0.5]))


def number_as_text(document: dict, rng: Random) -> None:
    replace(document, rng, is_number, str)


def strange_text(document: dict, rng: Random) -> None:
    replace(document, rng, lambda x: isinstance(x, str), lambda _: rng.choice(TEXTS))


def other_unicode_form(document: dict, rng: Random) -> None:
    """The same name in two forms, in the list and where it is used."""
    document["subcategories"][0]["values"][0] = unicodedata.normalize("NFC", "caf\u00e9")
    for annotation in document["annotations"][::2]:
        annotation["subcategories"]["style"] = unicodedata.normalize("NFD", "caf\u00e9")


def missing(document: dict, rng: Random) -> None:
    holder, key = pick(document, rng, lambda _: True)
    del holder[key]


def doubled(document: dict, rng: Random) -> None:
    holder, key = pick(document, rng, lambda x: isinstance(x, list) and bool(x))
    holder[key].append(copy.deepcopy(rng.choice(holder[key])))


def wrapped(document: dict, rng: Random) -> None:
    replace(document, rng, lambda _: True, lambda old: [old])


def deeply_nested(document: dict, rng: Random) -> None:
    def nest(value: object) -> object:
        for _ in range(rng.choice([3, 300])):
            value = [value]
        return value

    replace(document, rng, lambda _: True, nest)


def misnamed_key(document: dict, rng: Random) -> None:
    holder, key = pick(document, rng, lambda _: True)
    if isinstance(key, str):
        holder[rng.choice([key.upper(), f"{key} ", f"{key}s", ""])] = holder.pop(key)


def swapped(document: dict, rng: Random) -> None:
    """Two entries of a list exchange what they say under a key."""
    entries = document[rng.choice(["images", "annotations", "categories"])]
    if len(entries) < 2:
        return
    one, other = rng.sample(entries, 2)
    key = rng.choice(sorted(set(one) & set(other)))
    one[key], other[key] = other[key], one[key]


def same_id(document: dict, rng: Random) -> None:
    entries = document[rng.choice(["images", "annotations", "categories"])]
    rng.choice(entries)["id"] = rng.choice(entries)["id"]


def moved_point(document: dict, rng: Random) -> None:
    polygons = [a["segmentation"][0] for a in document["annotations"] if a["id"] != 101]
    polygon = rng.choice(polygons)
    polygon[rng.randrange(len(polygon))] += rng.choice([-40, -3, -1, 1, 3, 40])


def other_counts(document: dict, rng: Random) -> None:
    rle = document["annotations"][1]["segmentation"]
    counts = [[], [1200], [600], [599, 601], [600, 601], [0, 0, 1200], [600.0, 600], [-1, 1201]]
    counts += ["", "0", "Pf11", "hb0hb0", "hb0", "\u00e9", "hb0hb", "hb0hb0hb0"]
    rle["counts"] = rng.choice(counts)
    if rng.random() < 0.3:
        rle["size"] = rng.choice([[40, 30], [30], [30.0, 40], ["30", "40"], [30, 40, 1], [0, 0]])


def other_label(document: dict, rng: Random) -> None:
    labels = rng.choice(document["annotations"])["subcategories"]
    name = rng.choice(["style", "ripeness", "Style", "colour"])
    labels[name] = rng.choice(
        ["photo", "cartoon", "green", "Photo", None, 0, 1, 2, -1, 3, "0", 1.0]
    )


def other_file_name(document: dict, rng: Random) -> None:
    names = ["b.png", "a.PNG", "./a.png", "../train/a.png", "../val/c.png", "a.png ", "/etc/passwd"]
    names += ["", ".", "a\\b.png", "a.png\x00", "http://x/a.png", "a" * 300]
    rng.choice(document["images"])["file_name"] = rng.choice(names)


def shuffled(document: dict, rng: Random) -> None:
    for key in ("images", "annotations"):
        rng.shuffle(document[key])


CHANGES = [
    *(other_type, edge_number, near_number, number_as_text, strange_text, other_unicode_form),
    *(missing, doubled, wrapped, deeply_nested, misnamed_key, swapped, same_id, moved_point),
    *(other_counts, other_label, other_file_name, shuffled),
]


def encodings(text: str) -> dict[str, bytes]:
    """The text of a document as it may come; most come as they should."""
    half = text.encode()[: len(text) // 2]
    return {
        "UTF-8": text.encode(),
        "BOM": b"\xef\xbb\xbf" + text.encode(),
        "UTF-16": text.encode("utf-16"),
        "Latin-1": text.replace("cat", "caf\u00e9").encode("latin-1", errors="replace"),
        "cut": half,
        "doubled": text.encode() * 2,
        "comment": b"// exported\n" + text.encode(),
        "flipped byte": half[:-1] + b"\xf5" + text.encode()[len(half) :],
    }


def changed_json(rng: Random) -> tuple[str, bytes]:
    """A train.json with one or two changes, and the names of these."""
    document, names = copy.deepcopy(DOCUMENTS["train"]), []
    for change in rng.choices(CHANGES, k=rng.choice([1, 1, 1, 2])):
        try:
            change(document, rng)
        # An earlier change took away or spoiled what this one needs.
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            continue
        names.append(change.__name__)
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    forms = encodings(text.encode(errors="replace").decode())
    form = "UTF-8" if rng.random() < 0.95 else rng.choice(sorted(forms))
    return " + ".join(names + [form] * (form != "UTF-8")), forms[form]


# --- what becomes of them -------------------------------------------------------------------------

NAMED, HARMLESS, CHANGED = "named", "harmless", "changed in meaning and clean"
LATE, TRACEBACK = "accepted by loading and refused later", "traceback"
UNCHECKED = "refused by loading and not by the check"
UNREPAIRED = "not repaired, though it is said"
# What a check says of how often a label occurs is no word on what went wrong in one object.
COUNTED = ("class-never-seen", "value-never-seen", "label-never-varies")


class Outcome(NamedTuple):
    """What became of a dataset, and the error if there was one."""

    kind: str
    error: str = ""


def outcome_of(dataset: DatasetToCheck, meaning: object, *, draw: bool = False) -> Outcome:
    """Loads, checks, repairs, makes samples and evaluates.

    Args:
        dataset: as it is on disk.
        meaning: `meaning_of` the unchanged dataset.
        draw: whether the check makes the pictures of a report, too.
    """
    try:
        result = check_dataset(dataset.yaml, num_workers=1, draw=draw)
        json.loads(report_json(result))
        refusal = refusal_of(dataset)
        unrepaired = [text for files in find_splits(dataset.yaml)[0] for text in repair(files)]
    except Exception as error:
        return Outcome(TRACEBACK, repr(error))
    if unrepaired:
        return Outcome(UNREPAIRED, unrepaired[0])
    if refusal == OTHER_NAMES:
        return Outcome(NAMED, refusal)
    if refusal is not None:
        return Outcome(NAMED if result.exit_code == 2 else UNCHECKED, refusal)
    try:
        train_and_evaluate()
    except Exception as error:
        return Outcome(LATE, repr(error))
    told = [problem.text for problem in result.problems if problem.kind not in COUNTED]
    if told:
        return Outcome(NAMED, told[0])
    return Outcome(HARMLESS if meaning_of() == meaning else CHANGED)


def repair(files: SplitFiles) -> list[str]:
    """What --write-clean is said to repair, and does not."""
    if read_split(files).is_unreadable:
        return []
    output = files.json_file.with_suffix(".clean")
    write_clean(files, output)
    repaired = read_split(dataclasses.replace(files, json_file=output))
    output.unlink()
    # What has an error, too, stays as it is.
    in_error = {problem.index for problem in repaired.problems if problem.severity == ERROR}
    return [p.text for p in repaired.problems if REPAIR in p.text and p.index not in in_error]


NAMES = ("tiny_train", "tiny_val")
OTHER_NAMES = "the config names a dataset that is not registered"


def refusal_of(dataset: DatasetToCheck) -> str | None:
    """What training says before its first step; None: it starts."""
    try:
        if register_dataset_files([dataset.yaml]) != list(NAMES):
            return OTHER_NAMES
        for name in NAMES:
            DatasetCatalog.get(name)
    except (ValueError, OSError) as error:
        return str(error)
    return None


def train_and_evaluate() -> None:
    """Makes a sample of each picture, and evaluates predictions that are the ground truth."""
    mapper = mapper_of([], spec=spec_of(NAMES[0]))
    for record in DatasetCatalog.get(NAMES[0]):
        mapper({**record, "draw": 0})
    truth = ground_truth_of(NAMES[0])
    assert np.isfinite(truth.areas).all()
    assert np.isfinite(truth.boxes).all()
    joint.evaluate(truth, results_like(truth))


def results_like(truth: GroundTruth) -> Iterator[dict]:
    for rle, image, class_ in zip(truth.rles, truth.images, truth.classes, strict=True):
        counts = rle["counts"]
        yield {
            "image_id": truth.image_ids[image],
            "category_id": truth.category_ids[class_],
            "segmentation": {
                "size": rle["size"],
                "counts": counts if isinstance(counts, str) else counts.decode("ascii"),
            },
            "score": 0.5,
            "subcategories": {s.name: {"value": s.values[0], "score": 0.5} for s in truth.spec},
        }


def meaning_of() -> object:
    """Classes, subcategories and, by picture, what training learns of each object."""
    objects = {}
    for record in DatasetCatalog.get(NAMES[0]):
        annotations, size = record["annotations"], (record["height"], record["width"])
        masks = rasterize([annotation["segmentation"] for annotation in annotations], size=size)
        objects[Path(record["file_name"]).name] = sorted(
            (a["category_id"], a["iscrowd"], tuple(a["subcategories"]), mask.tobytes())
            for a, mask in zip(annotations, masks, strict=True)
        )
    return MetadataCatalog.get(NAMES[0]).thing_classes, spec_of(NAMES[0]), objects


def json_outcomes(count: int, seed: int = 0) -> Iterator[tuple[str, Outcome, bytes]]:
    """Changes of the train.json, what became of each, and its content."""

    def change(yaml_text: bytes, rng: Random) -> tuple[str, bytes, bytes]:
        names, content = changed_json(rng)
        return names, yaml_text, content

    return _outcomes(change, count, seed)


def yaml_outcomes(count: int, seed: int = 0) -> Iterator[tuple[str, Outcome, bytes]]:
    """The same of changes of the dataset YAML."""

    def change(yaml_text: bytes, rng: Random) -> tuple[str, bytes, bytes]:
        content = bytearray(yaml_text)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.choice(b" \t\n:-{}[]'\"#&*!|>%@`a5\x00\xe9")
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        return "bytes", bytes(content), json.dumps(DOCUMENTS["train"]).encode()

    return _outcomes(change, count, seed)


def _outcomes(change: Callable, count: int, seed: int) -> Iterator[tuple[str, Outcome, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        dataset = DatasetToCheck(Path(folder) / "tiny")
        yaml_text = dataset.write().read_bytes()
        with restored_datasets():
            assert refusal_of(dataset) is None
            meaning = meaning_of()
        for number in range(seed, seed + count):
            # A name of its own: what was read before is known by path, size and time.
            file = dataset.folder / f"{number}.json"
            named = yaml_text.replace(b"train.json", file.name.encode())
            names, yaml_content, json_content = change(named, Random(number))
            file.write_bytes(json_content)
            dataset.yaml.write_bytes(yaml_content)
            with restored_datasets():
                outcome = outcome_of(dataset, meaning, draw=number % 5 == 0)
            yield names, outcome, json_content if yaml_content == named else yaml_content
            file.unlink()


def report(outcomes: Callable[[int, int], Iterator], description: str) -> None:
    """A program that counts outcomes, and shows the first of each fault.

    Args:
        outcomes: `json_outcomes` or another function like it.
        description: of the program.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0, help="of the first; each has its own")
    args = parser.parse_args()
    logging.disable()  # what is told at the start of a training is in the check, too
    kinds, clean, shown = collections.Counter(), collections.Counter(), collections.Counter()
    found = outcomes(args.count, args.seed)
    for number, (changes, outcome, content) in enumerate(found, start=args.seed):
        kinds[outcome.kind] += 1
        if outcome.kind == CHANGED:
            clean[changes] += 1
        elif outcome.kind not in (NAMED, HARMLESS):
            shown[outcome.kind, outcome.error[:60]] += 1
            if shown[outcome.kind, outcome.error[:60]] == 1:
                print(f"{number} ({changes}): {outcome.kind}: {outcome.error}\n  {content!r:.3000}")
    for kind, times in kinds.most_common():
        print(f"{times:6} {kind}")
    for changes, times in clean.most_common():
        print(f"{times:6}   clean: {changes}")


if __name__ == "__main__":
    report(json_outcomes, __doc__)
