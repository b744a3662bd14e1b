"""The numbers of one split, kept small however many pictures it has."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence

import numpy as np

from mask2former_mt.check.pictures import Picture
from mask2former_mt.dataset.bit_depth import Depth
from mask2former_mt.dataset.document import Header
from mask2former_mt.structures import SubcategorySpec

# K classes, K_s values of a subcategory.

_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


class SplitStatistics:
    """Counts pictures and their sound annotations; crowds are counted and then left out.

    Args:
        header: None if the file's own is unusable: then only pictures are counted.
    """

    def __init__(self, header: Header | None) -> None:
        self.class_names = header.class_names if header else ()
        self.spec = header.spec if header else SubcategorySpec()
        self.num_images = 0
        self.num_decoded = 0
        self.num_crowds = 0
        self.class_counts = np.zeros(len(self.class_names), dtype=np.int64)
        # (K, K_s + 2) for each subcategory; the columns are its values, none, unknown. Objects of
        # classes that do not have it are not counted.
        self.value_counts = [
            np.zeros((len(self.class_names), s.num_values + 2), dtype=np.int64) for s in self.spec
        ]
        self.applies = np.array(self.spec.applicable(self.class_names), dtype=bool)
        # Packed numbers instead of lists of objects: a picture costs 12 bytes, an instance 8.
        self.per_image = array("l")
        self.short_sides = array("f")
        self.sides = array("f")  # square roots of the areas
        self.relative_sides = array("f")  # the same, divided by the picture's short side
        # By depth: number of pictures, lowest and highest sample stored.
        self.depths: dict[Depth, tuple[int, float, float]] = {}
        self._colour_sum = np.zeros(3)
        self._square_sum = np.zeros(3)

    def add(self, picture: Picture, annotations: Sequence[tuple[Mapping, float]]) -> None:
        """Counts one picture and its annotations.

        Args:
            picture: what is known of its file.
            annotations: the sound ones, as the reader gives them, each with its mask's area in
                pixels.
        """
        self.num_images += 1
        if picture.mean is not None:
            self.num_decoded += 1
            self._colour_sum += picture.mean
            self._square_sum += picture.mean_square
        if picture.depth is not None:
            count, low, high = self.depths.get(picture.depth, (0, math.inf, -math.inf))
            stored_low, stored_high = picture.stored_range
            widened = (min(low, stored_low), max(high, stored_high))
            self.depths[picture.depth] = (count + 1, *widened)
        objects = [pair for pair in annotations if not pair[0]["iscrowd"]]
        self.num_crowds += len(annotations) - len(objects)
        self.per_image.append(len(objects))
        short = min(picture.size) if picture.size else 0
        if short:
            self.short_sides.append(short)
        for annotation, area in objects:
            class_index = annotation["category_id"]
            self.class_counts[class_index] += 1
            applies = self.applies[class_index]
            for counts, label, has_it in zip(
                self.value_counts, annotation["subcategories"], applies, strict=True
            ):
                # Unknown is -1, and that is the last column.
                counts[class_index, label] += has_it
            side = area**0.5
            self.sides.append(side)
            if short:
                self.relative_sides.append(side / short)

    @property
    def num_instances(self) -> int:
        return int(self.class_counts.sum())

    @property
    def colours(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and standard deviation of red, green and blue, 0 to 255, every picture counting the
        same; None if no picture could be read."""
        if self.num_decoded == 0:
            return None
        mean = self._colour_sum / self.num_decoded
        variance = np.maximum(self._square_sum / self.num_decoded - mean**2, 0)
        return mean, np.sqrt(variance)

    def to_json(self) -> dict:
        """All numbers, for report.json."""
        mean, deviation = self.colours or (None, None)
        return {
            "images": self.num_images,
            "images_decoded": self.num_decoded,
            "images_without_instances": self.per_image.count(0),
            "instances": self.num_instances,
            "crowds": self.num_crowds,
            "instances_per_image": _summary(self.per_image),
            "instance_side_px": _summary(self.sides),
            "image_short_side_px": _summary(self.short_sides),
            "instances_per_class": dict(
                zip(self.class_names, self.class_counts.tolist(), strict=True)
            ),
            "subcategories": [
                {
                    "name": subcategory.name,
                    "instances_per_value": dict(
                        zip(subcategory.values, counts.sum(axis=0).tolist(), strict=False)
                    ),
                    "share_none": _share(counts, -2),
                    "share_unknown": _share(counts, -1),
                    "columns": [*subcategory.values, "none", "unknown"],
                    "class_by_value": counts.tolist(),
                }
                for subcategory, counts in zip(self.spec, self.value_counts, strict=True)
            ],
            "deep_images": [
                {"samples": depth.name, "images": count, "lowest": low, "highest": high}
                for depth, (count, low, high) in self.depths.items()
            ],
            "colour_mean_rgb": _rounded(mean),
            "colour_std_rgb": _rounded(deviation),
        }


def _share(counts: np.ndarray, column: int) -> float | None:
    """The share of a column of counts; None without a count."""
    total = counts.sum()
    return float(counts[:, column].sum() / total) if total else None


def _summary(values: array) -> dict[str, float] | None:
    if not len(values):
        return None
    numbers = np.asarray(values)
    percentiles = np.percentile(numbers, _PERCENTILES)
    return {
        "mean": float(numbers.mean(dtype=np.float64)),
        "min": float(numbers.min()),
        "max": float(numbers.max()),
        **{f"p{p}": float(v) for p, v in zip(_PERCENTILES, percentiles, strict=True)},
    }


def _rounded(colour: np.ndarray | None) -> list[float] | None:
    return None if colour is None else [round(v, 3) for v in colour.tolist()]
