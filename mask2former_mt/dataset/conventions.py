"""What the numbers and marks of a dataset's JSON mean, where the dataset YAML says so."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Conventions:
    """How a dataset's JSON means its numbers and marks; RLE is always in pixels.

    Args:
        box_coords: unit of `bbox`: "pixel", or "normalized" to [0, 1] by the image's width and
            height.
        polygon_coords: the same of polygons.
        crowd: what `"iscrowd": 1` means: "keep", a crowd, which training leaves out; or "object",
            one object, as tools mark their brush masks.
        holes: what a polygon inside another one of the same object is: "fill", a part, which COCO's
            union fills; or "even-odd", a hole.

    Raises:
        ValueError: another value.
    """

    box_coords: str = "pixel"
    polygon_coords: str = "pixel"
    crowd: str = "keep"
    holes: str = "fill"

    def __post_init__(self) -> None:
        for key, value in dataclasses.asdict(self).items():
            if value not in CONVENTION_CHOICES[key]:
                choices = " or ".join(map(repr, CONVENTION_CHOICES[key]))
                raise ValueError(f"{key!r} must be {choices}, got {value!r}")


_UNITS = ("pixel", "normalized")
CONVENTION_CHOICES = {
    "box_coords": _UNITS,
    "polygon_coords": _UNITS,
    "crowd": ("keep", "object"),
    "holes": ("fill", "even-odd"),
}
COCO_CONVENTIONS = Conventions()
