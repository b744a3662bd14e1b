"""What Label Studio's results say: outline, label, and further labels of a region.

A result has a `type` and a `value`. "polygonlabels" has an outline and its label under that name in
one; with other controls they are two results of one id, of types "polygon" and "labels".
"""

from __future__ import annotations

from collections.abc import Sequence

from mask2former_mt.importers.brush_rle import decode_brush
from mask2former_mt.importers.json_fields import field, number
from mask2former_mt.importers.outlines import check_points, ellipse, encode_mask, polygon

from mask2former_mt.dataset.problems import shown

_OUTLINES = ("polygon", "brush", "ellipse")
_WITHOUT_OUTLINE = {
    "rectangle": "boxes",
    "vector": "vectors",
    "keypoint": "key points",
    "bitmask": "bit masks",
}
# Where the value of a result that is no shape has what was chosen, by the result's type.
_CHOSEN = {
    "choices": "choices",
    "taxonomy": "taxonomy",
    "rating": "rating",
    "number": "number",
    "textarea": "text",
}
_LABELS = "labels"


def is_shape(result: dict) -> bool:
    """Whether a result is an outline or the label of one."""
    kind = field(result, "type", str)
    return kind.endswith(_LABELS) or kind in (*_OUTLINES, *_WITHOUT_OUTLINE)


def shape_of(parts: Sequence[dict]) -> dict | None:
    """The result of a region that has its outline; None where the results are of no region."""
    shapes = [part for part in parts if is_shape(part)]
    return next((part for part in shapes if _kind(part)), None)


def kind_without_mask(shape: dict) -> str:
    """What a shape without a mask is counted as."""
    return f"{_WITHOUT_OUTLINE.get(_kind(shape), 'regions')} without a mask"


def label_of(parts: Sequence[dict]) -> str:
    """The class of a region.

    Raises:
        ValueError: it has none, or several.
    """
    labels: dict[str, None] = {}
    for part in parts:
        kind = field(part, "type", str)
        if kind.endswith(_LABELS):
            for label in field(field(part, "value", dict), kind, list, []):
                if not isinstance(label, str) or not label.strip():
                    raise ValueError(f"{kind!r} must be a list of texts, got {shown(label)}")
                labels[label] = None
    if len(labels) != 1:
        raise ValueError(
            f"it must have one label, which is its class, got {list(labels)}; correct it"
        )
    return next(iter(labels))


def attribute_values(result: dict) -> list | None:
    """What a result that is no shape says of its region; None where it is of another type.

    The places of a taxonomy are texts such as "animal / dog"; a rating is one of a few texts.
    """
    kind = field(result, "type", str)
    if kind not in _CHOSEN:
        return None
    chosen = field(result, "value", dict).get(_CHOSEN[kind])
    values = chosen if isinstance(chosen, list) else [chosen]
    if kind == "taxonomy":
        return [" / ".join(map(str, v)) if isinstance(v, list) else v for v in values]
    if kind == "rating":
        return [str(v) for v in values if v is not None]
    return values


def segmentation_of_shape(shape: dict, height: int, width: int) -> list | dict:
    """The polygon or run lengths of a shape, whose positions are percent of the picture's sides.

    Raises:
        ValueError: a shape without an outline, or a damaged one.
    """
    kind = _kind(shape)
    if kind not in _OUTLINES:
        raise ValueError(f"a {kind} has no outline; draw a polygon or use the brush")
    if shape.get("image_rotation"):
        raise ValueError("it was drawn on a turned picture; turn it back, and export again")
    value = field(shape, "value", dict)
    x_scale, y_scale = width / 100, height / 100
    if kind == "brush":
        return encode_mask(decode_brush(value.get("rle"), height, width))
    if kind == "polygon":
        points = check_points(value.get("points"), "percent")
        return [polygon([[x * x_scale, y * y_scale] for x, y in points])]
    centre = (number(value, "x") * x_scale, number(value, "y") * y_scale)
    radii = (number(value, "radiusX") * x_scale, number(value, "radiusY") * y_scale)
    return [ellipse(centre, radii, height, width, number(value, "rotation", 0.0))]


def _kind(result: dict) -> str:
    return field(result, "type", str).removesuffix(_LABELS)
