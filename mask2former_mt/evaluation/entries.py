"""Entries of the results JSON, each checked against the dataset, to columns of numbers."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence

import numpy as np

from mask2former_mt.dataset.rle import looks_compressed, sums_of_lengths
from mask2former_mt.evaluation.ground_truth import GroundTruth, measure_masks
from mask2former_mt.structures import UNKNOWN, Subcategory

# N entries, S subcategories

REQUIRED_KEYS = ("image_id", "category_id", "segmentation", "score")


class EntryReader:
    """Checks entries against one dataset.

    Args:
        truth: the dataset.
    """

    def __init__(self, truth: GroundTruth) -> None:
        self._spec = truth.spec
        self._category_ids = truth.category_ids
        self._images = {image_id: i for i, image_id in enumerate(truth.image_ids)}
        self._classes = {category_id: k for k, category_id in enumerate(truth.category_ids)}
        self._sizes = truth.sizes.tolist()
        # Quicker than `labels_of`, which is asked when a value is not found here.
        self._labels = [{v: s.value_index(v) for v in (*s.values, None)} for s in truth.spec]

    def read(
        self, entries: Sequence[Mapping], first_place: int
    ) -> tuple[dict[str, np.ndarray], list[Mapping]]:
        """Checks N entries.

        Args:
            entries: as `results.instances_to_results` makes them, not changed.
            first_place: the position of the first one in the results, for messages.

        Returns:
            `images`, `classes`, `scores`, `areas`, `extents`, `labels` and `label_scores` as of
            `Detections`, in the order of the entries; and the N masks.

        Raises:
            ValueError: names the first entry that does not fit.
        """
        rows, rles = [], []
        for place, entry in enumerate(entries, start=first_place):
            try:
                rows.append(self._row(entry))
                rles.append(entry["segmentation"])
            except ValueError as error:
                raise ValueError(f"results[{place}]{_image_of(entry)}: {error}") from error
        images, classes, scores, labels, label_scores = (
            zip(*rows, strict=True) if rows else [()] * 5
        )
        rles = self._checked_masks(rles, entries, images, first_place)
        areas, extents = measure_masks(rles)
        shape = (len(rows), len(self._spec))
        columns = {
            "images": np.array(images, dtype=np.int64),
            "classes": np.array(classes, dtype=np.int64),
            "scores": np.array(scores, dtype=np.float64),
            "areas": areas,
            "extents": extents,
            "labels": np.array(labels, dtype=np.int64).reshape(shape),
            "label_scores": np.array(label_scores, dtype=np.float64).reshape(shape),
        }
        return columns, rles

    def _row(self, entry: Mapping) -> tuple[int, int, float, list[int], list[float]]:
        if not isinstance(entry, dict):
            raise ValueError(
                f"a result must be an object with {list(REQUIRED_KEYS)}, got {str(entry)[:80]!r}"
            )
        for key in REQUIRED_KEYS:
            if key not in entry:
                raise ValueError(f"no {key!r}; a result needs {list(REQUIRED_KEYS)}")
        image_id, category_id = entry["image_id"], entry["category_id"]
        # A JSON value may also be a list, which is no key.
        image = self._images.get(image_id) if isinstance(image_id, (int, str)) else None
        if image is None:
            raise ValueError(
                f"image_id {image_id!r} is not one of the {len(self._images)} images of the ground "
                "truth; are these the predictions for another dataset or split?"
            )
        class_ = self._classes.get(category_id) if isinstance(category_id, (int, str)) else None
        if class_ is None:
            raise ValueError(
                f"category_id {category_id!r} is not in the ground truth, which lists "
                f"{self._category_ids}; write dataset ids, not contiguous classes"
            )
        rle, size = entry["segmentation"], self._sizes[image]
        if not isinstance(rle, dict) or not isinstance(rle.get("counts"), (str, bytes)):
            raise ValueError(
                "segmentation must be a compressed RLE "
                '{"size": [height, width], "counts": text}; encode it with pycocotools.mask.encode'
            )
        if rle.get("size") != size and list(rle.get("size") or ()) != size:
            raise ValueError(
                f"the mask's size must be {size} (height, width), "
                f"got {rle.get('size')}; resize the masks to the original image"
            )
        score = _checked_score(entry["score"])
        return (image, class_, score, *self._checked_labels(entry.get("subcategories", {})))

    def _checked_labels(self, predicted: object) -> tuple[list[int], list[float]]:
        """The S values and their probabilities, NaN where an entry states none."""
        if not isinstance(predicted, dict) or not all(
            isinstance(found, dict) and "value" in found for found in predicted.values()
        ):
            raise ValueError(
                'subcategories must be {name: {"value": value or null, "score": number}}, '
                f"got {predicted!r}"
            )
        labels, scores = [], []
        for s, known in zip(self._spec, self._labels, strict=True):
            found = predicted.get(s.name, {"value": UNKNOWN})
            value = found["value"]
            is_key = value is None or isinstance(value, str)
            label = known[value] if is_key and value in known else s.value_index(value)
            if label == UNKNOWN:
                raise ValueError(_no_value(s))
            labels.append(label)
            score = found.get("score")
            try:
                scores.append(math.nan if score is None else _checked_score(score))
            except ValueError as error:
                raise ValueError(f"subcategory {s.name!r}: {error}") from error
        if len(predicted) > len(labels):
            # Names the one that is not listed.
            self._spec.labels_of(dict.fromkeys(predicted))
        return labels, scores

    def _checked_masks(
        self,
        rles: Sequence[Mapping],
        entries: Sequence[Mapping],
        images: Sequence[int],
        first_place: int,
    ) -> list[Mapping]:
        """The masks, whose texts pycocotools would otherwise read past their ends."""
        texts = [rle["counts"] for rle in rles]
        if any(isinstance(text, bytes) for text in texts):
            texts = [t.decode("latin-1") if isinstance(t, bytes) else t for t in texts]
            rles = [{"size": r["size"], "counts": t} for r, t in zip(rles, texts, strict=True)]
        if not _all_look_compressed(texts):
            for place, (text, entry) in enumerate(zip(texts, entries, strict=True), first_place):
                if not looks_compressed(text):
                    raise ValueError(
                        f"results[{place}]{_image_of(entry)}: the mask's counts must be COCO's "
                        f"compressed text, which this is not, or it is cut short: {text[:80]!r}"
                    )
        try:
            sums = sums_of_lengths(texts)
        except ValueError as error:
            where = f"results[{first_place}] to results[{first_place + len(texts) - 1}]"
            raise ValueError(f"{where}: one of the masks: {error}") from error
        pixels = np.array([self._sizes[image] for image in images], dtype=np.int64).reshape(-1, 2)
        wrong = np.flatnonzero(sums != pixels.prod(axis=1))
        if wrong.size:
            i = int(wrong[0])
            raise ValueError(
                f"results[{first_place + i}]{_image_of(entries[i])}: the mask's run lengths must "
                f"add up to height * width = {pixels[i].prod()}, got {sums[i]}; the file may be "
                "damaged, predict again"
            )
        return list(rles)


def _all_look_compressed(texts: Sequence[str]) -> bool:
    """`looks_compressed` of many texts at once."""
    joined = "".join(texts)
    if not texts or not all(texts) or not joined.isascii():
        return not texts
    codes = np.frombuffer(joined.encode("ascii"), dtype=np.uint8)
    last = codes[np.cumsum([len(text) for text in texts]) - 1]
    in_range = codes.min() >= ord("0") and codes.max() <= ord("o")
    return bool(in_range and not ((last - ord("0")) & 0x20).any())


def _checked_score(score: object) -> float:
    if type(score) is not float and (
        isinstance(score, bool) or not isinstance(score, numbers.Real)
    ):
        raise ValueError(f"score must be a finite number, got {score!r}")
    if not math.isfinite(score):
        raise ValueError(f"score must be a finite number, got {score!r}")
    return float(score)


def _no_value(subcategory: Subcategory) -> str:
    return (
        f"no value of subcategory {subcategory.name!r}; every result must predict one of "
        f"{list(subcategory.values)} or null (none) for it"
    )


def _image_of(entry: object) -> str:
    known = isinstance(entry, dict) and isinstance(entry.get("image_id"), (int, str))
    return f": image {entry['image_id']!r}" if known else ""
