"""Masks that may overlap become maps in which every pixel belongs to one thing at most."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from mask2former_mt.structures import UNKNOWN, SubcategorySpec

# N instances, S subcategories, H and W of the picture.

# Who has a pixel that several masks claim: "keep": all of them; "last": the last one listed;
# "smallest_on_top": the one with the smallest mask, and of equal ones the last.
OVERLAP_POLICIES = ("keep", "last", "smallest_on_top")
VOID_INDEX = -1
VOID_LABEL = 255
VOID_SEGMENT = 0
# COCO writes a segment id as three bytes: R + 256 G + 256^2 B.
_MAX_SEGMENT_ID = 256**3 - 1


def resolve_overlap(masks_NHW: np.ndarray, *, overlap: str) -> np.ndarray:
    """Gives every pixel that several masks claim to one of them.

    Args:
        masks_NHW: bool (N, H, W); not changed.
        overlap: one of `OVERLAP_POLICIES`.

    Returns:
        bool (N, H, W); a mask that is hidden altogether is empty. With "keep" the argument itself.

    Raises:
        ValueError: masks of another shape or dtype, or an unknown policy.
    """
    order = _order(masks_NHW, overlap)
    if overlap == "keep":
        return masks_NHW
    resolved_NHW = np.empty_like(masks_NHW)
    is_free = np.ones(masks_NHW.shape[1:], dtype=bool)
    for index in reversed(order):
        np.logical_and(masks_NHW[index], is_free, out=resolved_NHW[index])
        is_free &= ~resolved_NHW[index]
    return resolved_NHW


def instance_map(masks_NHW: np.ndarray, *, overlap: str) -> np.ndarray:
    """Says of every pixel which instance it shows.

    Args:
        masks_NHW: bool (N, H, W).
        overlap: "last" or "smallest_on_top".

    Returns:
        int32 (H, W): the instance's index in 0..N-1, or -1 (void) where there is none.

    Raises:
        ValueError: as `resolve_overlap`, or "keep", which a map cannot.
    """
    return _paint(masks_NHW, range(len(masks_NHW)), overlap, VOID_INDEX, np.int32)


def label_map(
    masks_NHW: np.ndarray, classes: Sequence[int], *, overlap: str, void: int = VOID_LABEL
) -> np.ndarray:
    """Says of every pixel which class it shows.

    Args:
        masks_NHW: bool (N, H, W).
        classes: N class indices, 0 or more.
        overlap: "last" or "smallest_on_top".
        void: the label of pixels without an instance.

    Returns:
        int64 (H, W), each one of `classes` or `void`.

    Raises:
        ValueError: as `instance_map`, another number of classes, or one that is `void` itself.
    """
    classes = [int(c) for c in classes]
    if len(classes) != len(masks_NHW):
        raise ValueError(f"classes must be {len(masks_NHW)}, one per mask, got {len(classes)}")
    if void in classes or min(classes, default=0) < 0:
        raise ValueError(
            f"classes must be 0 or more and not {void}, which stands for void, got "
            f"{sorted(set(classes))}; set another `void`"
        )
    return _paint(masks_NHW, classes, overlap, void, np.int64)


def panoptic_form(
    masks_NHW: np.ndarray,
    category_ids: Sequence[int],
    *,
    overlap: str,
    segment_ids: Sequence[int] | None = None,
    iscrowd: Sequence[int] | None = None,
    subcategories: Sequence[Sequence[int]] | None = None,
    spec: SubcategorySpec | None = None,
) -> tuple[np.ndarray, list[dict]]:
    """COCO's panoptic form: a map of segment ids, and what each id is.

    Args:
        masks_NHW: bool (N, H, W).
        category_ids: N ids, in whichever numbering the result shall have.
        overlap: "last" or "smallest_on_top".
        segment_ids: N different ids in [1, 256^3 - 1]; None: 1..N.
        iscrowd: N times 0 or 1; None: all 0.
        subcategories: (N, S) labels in {-1, 0..K_s}, and
        spec: the S subcategories that they are of. None: there are none.

    Returns:
        int32 (H, W) segment ids, 0 for void; and `segments_info`, per segment with a pixel left
        `id`, `category_id`, `iscrowd`, `area` (pixels), `bbox` (xywh in pixels) and
        `subcategories`, as a dataset JSON writes them: value names, None for none, no key for
        unknown.

    Raises:
        ValueError: as `instance_map`; lists of another length; an id that is not unique or too
            large; labels without their spec.
    """
    num = len(masks_NHW)
    segment_ids = [int(i) for i in (range(1, num + 1) if segment_ids is None else segment_ids)]
    iscrowd = [0] * num if iscrowd is None else [int(c) for c in iscrowd]
    if (subcategories is None) != (spec is None):
        raise ValueError("subcategories and spec belong together: give both, or neither")
    spec = SubcategorySpec() if spec is None else spec
    labels = [()] * num if subcategories is None else subcategories
    for what, values in (
        ("category_ids", category_ids),
        ("segment_ids", segment_ids),
        ("iscrowd", iscrowd),
        ("subcategories", labels),
    ):
        if len(values) != num:
            raise ValueError(f"{what} must be {num}, one per mask, got {len(values)}")
    if len(set(segment_ids)) != num or not all(1 <= i <= _MAX_SEGMENT_ID for i in segment_ids):
        raise ValueError(
            f"segment_ids must be different and in [1, {_MAX_SEGMENT_ID}], got {segment_ids}"
        )
    ids_HW = _paint(masks_NHW, segment_ids, overlap, VOID_SEGMENT, np.int32)
    infos = []
    for position, segment_id in enumerate(segment_ids):
        rows, columns = np.nonzero(ids_HW == segment_id)
        if not rows.size:
            continue
        top, left = int(rows.min()), int(columns.min())
        infos.append(
            {
                "id": segment_id,
                "category_id": int(category_ids[position]),
                "iscrowd": iscrowd[position],
                "area": int(rows.size),
                "bbox": [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top],
                "subcategories": {
                    s.name: s.value_name(int(label))
                    for s, label in zip(spec, labels[position], strict=True)
                    if label != UNKNOWN
                },
            }
        )
    return ids_HW, infos


def panoptic_masks(ids_HW: np.ndarray, segments_info: Sequence[Mapping]) -> np.ndarray:
    """The bool (N, H, W) masks of N listed segments; the inverse of `panoptic_form`."""
    segment_ids = np.array([info["id"] for info in segments_info], dtype=np.int64)
    return ids_HW[None] == segment_ids[:, None, None]


def write_panoptic_png(path: str | os.PathLike, ids_HW: np.ndarray) -> None:
    """Writes segment ids as COCO does, R + 256 G + 256^2 B.

    Args:
        path: a file name that ends in .png.
        ids_HW: integers (H, W) in [0, 256^3 - 1], 0 for void.

    Raises:
        ValueError: another shape, dtype or range, or another ending: other formats lose ids.
    """
    if os.path.splitext(path)[1].lower() != ".png":
        raise ValueError(f"{path} must end in .png; other formats do not keep the ids exactly")
    if ids_HW.ndim != 2 or not ids_HW.size or not np.issubdtype(ids_HW.dtype, np.integer):
        raise ValueError(f"ids_HW must be integers (H, W), got {ids_HW.dtype} {ids_HW.shape}")
    if ids_HW.min() < 0 or ids_HW.max() > _MAX_SEGMENT_ID:
        raise ValueError(
            f"ids_HW must be in [0, {_MAX_SEGMENT_ID}], got {ids_HW.min()} to {ids_HW.max()}"
        )
    shifted = ids_HW[..., None] >> np.array([0, 8, 16], dtype=ids_HW.dtype)
    Image.fromarray((shifted & 255).astype(np.uint8)).save(path)


def read_panoptic_png(
    path: str | os.PathLike, segments_info: Sequence[Mapping] | None = None
) -> np.ndarray:
    """Reads segment ids as COCO writes them.

    Args:
        path: a PNG.
        segments_info: what the ids must agree with; None: it is not checked.

    Returns:
        int32 (H, W), 0 for void.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an RGB picture or a damaged one, a segment that is listed but has no pixel,
            or one that has pixels but is not listed.
    """
    try:
        with Image.open(path) as image:
            mode, pixels = image.mode, np.asarray(image)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
    if mode != "RGB":
        raise ValueError(
            f"{path} must be a panoptic PNG, RGB with ids R + 256 G + 256^2 B, got mode {mode!r}"
        )
    ids_HW = pixels.astype(np.int32) @ np.array([1, 256, 256**2], dtype=np.int32)
    if segments_info is not None:
        found = set(np.unique(ids_HW).tolist()) - {VOID_SEGMENT}
        listed = {info["id"] for info in segments_info}
        if found != listed:
            raise ValueError(
                f"{path} and its segments_info must hold the same ids; only the picture has "
                f"{sorted(found - listed)}, only the list has {sorted(listed - found)}"
            )
    return ids_HW


def _order(masks_NHW: np.ndarray, overlap: str) -> list[int]:
    """Checks both, and returns the instances from the lowest to the topmost."""
    if overlap not in OVERLAP_POLICIES:
        raise ValueError(f"overlap must be one of {list(OVERLAP_POLICIES)}, got {overlap!r}")
    if masks_NHW.ndim != 3 or masks_NHW.dtype != bool:
        raise ValueError(f"masks must be bool (N, H, W), got {masks_NHW.dtype} {masks_NHW.shape}")
    indices = list(range(len(masks_NHW)))
    if overlap == "smallest_on_top":
        # Stable: of equal areas the last stays last.
        indices.sort(key=lambda index: -np.count_nonzero(masks_NHW[index]))
    return indices


def _paint(
    masks_NHW: np.ndarray, values: Sequence[int], overlap: str, void: int, dtype: type
) -> np.ndarray:
    if overlap == "keep":
        raise ValueError(
            "overlap must be 'last' or 'smallest_on_top' for a map, in which a pixel has one "
            "value, got 'keep'"
        )
    painted_HW = np.full(masks_NHW.shape[1:], void, dtype=dtype)
    for index in _order(masks_NHW, overlap):
        np.copyto(painted_HW, values[index], where=masks_NHW[index])
    return painted_HW
