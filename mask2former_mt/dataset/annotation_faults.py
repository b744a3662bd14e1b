"""All that can be wrong with an annotation: what it is called, how bad it is, and what to do."""

from __future__ import annotations

from mask2former_mt.dataset.problems import ERROR, REPAIR, WARNING, Fault

_DRAW = "draw the outline, or remove the annotation"
_OTHER_PICTURE = "it may belong to another image or size: draw it again"


# Severity, kind, message and remedy by name. What leaves the outline in doubt is an error; what
# follows from the outline is taken from it, and is a warning.
_FAULTS = {
    "no outline": (
        *(ERROR, "bad-annotation"),
        "'segmentation' must be a list of polygons or an RLE object, got {got}",
        "boxes alone teach no masks: " + _DRAW,
    ),
    "empty outline": (ERROR, "zero-area", "'segmentation' is empty", _DRAW),
    "flat list": (
        *(WARNING, "bad-polygon"),
        "'segmentation' is one flat list [x1, y1, x2, y2, ...] where COCO has a list of them; "
        "it is read as one polygon",
        REPAIR,
    ),
    "list of points": (
        *(WARNING, "bad-polygon"),
        "a polygon is a list of points [[x1, y1], [x2, y2], ...] where COCO has [x1, y1, x2, y2, "
        "...]: read as if it were written so",
        REPAIR,
    ),
    "damaged polygon": (
        *(ERROR, "bad-polygon"),
        "a polygon must be a list of finite numbers [x1, y1, x2, y2, ...], got {got}",
        "export it again",
    ),
    "only short parts": (
        *(ERROR, "too-few-points"),
        "a polygon needs at least 3 points, got {number}: {got}",
        "remove it or draw it again",
    ),
    "short part": (
        *(WARNING, "too-few-points"),
        "a polygon needs at least 3 points, got {number}: {got}; this part is left out",
        REPAIR,
    ),
    "flat outline": (
        *(WARNING, "zero-area"),
        "the outline encloses nothing: training drops the object",
        _DRAW,
    ),
    "normalised outline": (
        *(ERROR, "bad-polygon"),
        "a polygon must be in pixels of the image, {width:g} wide, got no coordinate above "
        "{most:g}, as if normalised to [0, 1]",
        "if it is, write 'polygon_coords: normalized' into the dataset YAML; if it is no larger "
        "than a pixel, remove the annotation",
    ),
    "outline outside": (
        *(ERROR, "out-of-bounds"),
        "a polygon must lie inside the image, x in [0, {width}], y in [0, {height}], got x in "
        "[{x0:g}, {x1:g}], y in [{y0:g}, {y1:g}]",
        _OTHER_PICTURE,
    ),
    "normalised outline outside": (
        *(ERROR, "out-of-bounds"),
        "a polygon must lie in [0, 1], as 'polygon_coords: normalized' says, got x in [{x0:g}, "
        "{x1:g}], y in [{y0:g}, {y1:g}]",
        "if these are pixels, write 'polygon_coords: pixel' into the dataset YAML",
    ),
    "other RLE size": (
        *(ERROR, "rle-size-mismatch"),
        "RLE size must be the image's [height, width] = [{height}, {width}], got {got}",
        "export it again for this picture",
    ),
    "damaged RLE": (ERROR, "bad-rle", "{why}", "export it again"),
    "empty RLE": (ERROR, "zero-area", "the RLE has no pixel", _DRAW),
    "overfull RLE": (
        *(ERROR, "bad-rle"),
        "the RLE must cover at most height * width = {most} pixels, got {got}",
        "its counts are damaged, export it again",
    ),
    "no box": (
        *(WARNING, "bad-box"),
        "'bbox' must be [x, y, width, height], got {got}: taken from the outline",
        REPAIR,
    ),
    "other box": (
        *(WARNING, "box-unlike-mask"),
        "'bbox' in pixels is [{box}], the mask's own is [{own}]: taken from the outline",
        "{hint}" + REPAIR,
    ),
    "no area": (
        *(WARNING, "area-unlike-mask"),
        "'area' must be a number of pixels above 0, at most the picture's {most:g}, got {got}: "
        "taken from the outline",
        REPAIR,
    ),
    "no crowd mark": (
        *(WARNING, "bad-crowd-mark"),
        "'iscrowd' must be 0 or 1, got {got}: taken for {taken}",
        REPAIR,
    ),
    "unknown class": (
        *(ERROR, "unknown-category"),
        "category_id {got} is not listed in 'categories'; listed are {listed}",
        "add it there, or correct the annotation",
    ),
    "no labels": (
        *(ERROR, "unknown-subcategory"),
        '\'subcategories\' must be an object such as {{"style": "photo"}}, got {got}',
        "correct the annotation",
    ),
    "unknown subcategory": (
        *(ERROR, "unknown-subcategory"),
        "subcategory {got} is not listed; listed are {listed}",
        "add it to the file's 'subcategories', or correct the annotation",
    ),
    "unknown value": (
        *(ERROR, "unknown-value"),
        "{why}",
        "add it to 'values', or correct the annotation",
    ),
    "value of other class": (
        *(ERROR, "value-of-other-class"),
        "an object of class {of} has value {value} of subcategory {subcategory}, which applies "
        "to {classes} only",
        "remove the value, correct the class, or add the class to 'applies_to'",
    ),
}


def fault(name: str, **facts: object) -> Fault:
    """A fault of the table.

    Args:
        name: its name there.
        facts: what its message and remedy name.
    """
    severity, kind, message, remedy = _FAULTS[name]
    return Fault(kind, message.format(**facts), remedy.format(**facts), severity)
