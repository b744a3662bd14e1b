"""The augmentations that a config names: by the published keys, or in INPUT.AUGMENTATIONS."""

from __future__ import annotations

import functools
import inspect
import logging
import math
from collections.abc import Mapping, Sequence

from detectron2.config import CfgNode
from detectron2.data import transforms as T

from mask2former_mt.data.copy_paste import CopyPaste
from mask2former_mt.data.segment_objects import IGNORED
from mask2former_mt.data.target_kinds import INSTANCES, TARGETS
from mask2former_mt.data.transforms import (
    PAD_VALUE,
    VOID,
    RandomBrightness,
    RandomContrast,
    RandomRotation,
    RandomSaturation,
    ResizeScale,
    ResizeShortestEdge,
)

LOGGER = logging.getLogger("mask2former_mt")

# Of INPUT.DATASET_MAPPER_NAME.
MAPPER_NAMES = tuple(TARGETS)
# Of INPUT.CROP.TYPE.
CROP_TYPES = ("absolute", "absolute_range", "relative", "relative_range")
# Of INPUT.RANDOM_FLIP.
FLIPS = ("none", "horizontal", "vertical")


def build_train_augmentations(cfg: CfgNode, target: str = INSTANCES) -> list[T.Augmentation]:
    """The augmentations of INPUT.AUGMENTATIONS; where it is empty, of INPUT.DATASET_MAPPER_NAME.

    `coco_instance_lsj`, `coco_panoptic_lsj`: flip, large-scale jitter by INPUT.MIN_SCALE..MAX_SCALE
    of INPUT.IMAGE_SIZE, then a crop of IMAGE_SIZE, padded on the right and at the bottom. `plain`:
    ResizeShortestEdge by INPUT.MIN_SIZE_TRAIN, then flip. `mask_former_semantic`,
    `mask_former_panoptic`, `mask_former_instance`: the same resize, INPUT.CROP, then flip. The
    published files of instances leave `mask_former_semantic`, the default, as it is: for instances
    it is `coco_instance_lsj`, and the log says so.

    Args:
        cfg: the config.
        target: what is learned, see `target_kinds`.

    Raises:
        ValueError: an unknown mapper name or INPUT.RANDOM_FLIP, or what `named_augmentations`
            refuses.

    Source: Ghiasi et al., "Simple Copy-Paste", for large-scale jitter; Mask2Former's dataset
        mappers, whose INPUT.COLOR_AUG_SSD shifts hues, too.
    """
    if cfg.INPUT.AUGMENTATIONS:
        return named_augmentations(cfg.INPUT.AUGMENTATIONS, image_format=cfg.INPUT.FORMAT)
    name, direction = cfg.INPUT.DATASET_MAPPER_NAME, cfg.INPUT.RANDOM_FLIP
    for key, value, choices in (
        ("DATASET_MAPPER_NAME", name, MAPPER_NAMES),
        ("RANDOM_FLIP", direction, FLIPS),
    ):
        if value not in choices:
            raise ValueError(f"INPUT.{key} must be one of {list(choices)}, got {value!r}")
    if name == "mask_former_semantic" and target == INSTANCES:
        LOGGER.info(
            f"INPUT.DATASET_MAPPER_NAME {name!r}, the default, learns from maps of classes: the "
            "dataset has instances, and it is read as 'coco_instance_lsj'"
        )
        name = "coco_instance_lsj"
    flips = [] if direction == "none" else _flip(direction=direction)
    colors = _color(cfg.INPUT.FORMAT) if cfg.INPUT.COLOR_AUG_SSD else []
    if name in ("coco_instance_lsj", "coco_panoptic_lsj"):
        jitter = _lsj(
            size=cfg.INPUT.IMAGE_SIZE, min_scale=cfg.INPUT.MIN_SCALE, max_scale=cfg.INPUT.MAX_SCALE
        )
        return [*colors, *flips, *jitter]
    resize = ResizeShortestEdge(
        cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
    )
    if name == "plain":
        return [*colors, resize, *flips]
    return [resize, *_random_crop(cfg.INPUT.CROP, target), *colors, *flips]


def _random_crop(crop: CfgNode, target: str) -> list[T.Augmentation]:
    """Of INPUT.CROP. Up to ten crops are drawn, until one shows two classes or more, none of them
    on more than SINGLE_CATEGORY_MAX_AREA of the pixels that are not ignored."""
    if not crop.ENABLED:
        return []
    if target == INSTANCES or crop.SINGLE_CATEGORY_MAX_AREA >= 1:
        return [T.RandomCrop(crop.TYPE, crop.SIZE)]
    return [
        T.RandomCrop_CategoryAreaConstraint(
            crop.TYPE, crop.SIZE, crop.SINGLE_CATEGORY_MAX_AREA, ignored_category=IGNORED
        )
    ]


def flips_of(augmentations: Sequence[T.Augmentation]) -> set[str]:
    """Which of `FLIPS` augmentations may do: "horizontal", "vertical", both or nothing."""
    flips = [a for a in augmentations if isinstance(a, T.RandomFlip) and a.prob > 0]
    return {"horizontal" if flip.horizontal else "vertical" for flip in flips}


def build_test_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """Resizes the shorter side to INPUT.MIN_SIZE_TEST, the longer to at most MAX_SIZE_TEST."""
    return [ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]


def named_augmentations(entries: Sequence[Mapping], *, image_format: str) -> list[T.Augmentation]:
    """Builds INPUT.AUGMENTATIONS.

    Args:
        entries: in the order that they are applied in, each `{name: <name>, <parameter>: <value>}`.
            flip: prob 0.5, direction horizontal (or vertical).
            lsj: size (pixels, or [height, width]), min_scale 0.1, max_scale 2.0. Fits the picture
                into a box of `size` times a random factor, then crops as `crop` does.
            crop: size. At a random place; a smaller picture is padded right and at the bottom.
            resize: short_side (pixels, or a list to choose from), max_size 1333 of the longer side.
            rotate: max_angle (degrees, in either direction), prob 0.5, expand False.
            color: brightness 0.25, contrast 0.5, saturation 0.5 (changed by up to this share),
                prob 0.5 for each of the three.
            copy_paste: prob 0.5, max_instances 5. The other picture goes through what comes before
                it in the list.
        image_format: "RGB" or "BGR".

    Raises:
        ValueError: an unknown name or parameter, with those that are known; a value out of range.
    """
    augmentations: list[T.Augmentation] = []
    for position, entry in enumerate(entries):
        where = f"INPUT.AUGMENTATIONS[{position}]"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise ValueError(
                f"{where} must be a name with parameters such as {{name: flip, prob: 0.5}}, "
                f"got {entry!r}"
            )
        before = [a for a in augmentations if not isinstance(a, CopyPaste)]
        builders = {
            "flip": _flip,
            "lsj": _lsj,
            "crop": _crop,
            "resize": _resize,
            "rotate": _rotate,
            "color": functools.partial(_color, image_format),
            "copy_paste": functools.partial(_copy_paste, before),
        }
        parameters = dict(entry)
        name = parameters.pop("name")
        if name not in builders:
            raise ValueError(
                f"{where}: no augmentation is named {name!r}; known are {sorted(builders)}"
            )
        known = inspect.signature(builders[name]).parameters
        unknown = sorted(map(str, set(parameters) - set(known)))
        if unknown:
            raise ValueError(
                f"{where}: {name} has no parameter {unknown[0]!r}; it has {sorted(known)}"
            )
        for parameter, description in known.items():
            if description.default is inspect.Parameter.empty and parameter not in parameters:
                raise ValueError(f"{where}: {name} needs the parameter {parameter!r}")
        try:
            augmentations += builders[name](**parameters)
        except ValueError as error:
            raise ValueError(f"{where} ({name}): {error}") from error
    return augmentations


def _flip(*, prob: float = 0.5, direction: str = "horizontal") -> list[T.Augmentation]:
    _require(
        direction in ("horizontal", "vertical"), "direction", direction, "horizontal or vertical"
    )
    horizontal = direction == "horizontal"
    return [T.RandomFlip(_share("prob", prob), horizontal=horizontal, vertical=not horizontal)]


def _lsj(
    *, size: int | Sequence[int], min_scale: float = 0.1, max_scale: float = 2.0
) -> list[T.Augmentation]:
    height, width = _size(size)
    _number("min_scale", min_scale, above=0)
    _number("max_scale", max_scale, above=0)
    _require(min_scale <= max_scale, "min_scale", min_scale, f"at most max_scale, {max_scale}")
    return [ResizeScale(min_scale, max_scale, height, width), *_crop(size=size)]


def _crop(*, size: int | Sequence[int]) -> list[T.Augmentation]:
    return [T.FixedSizeCrop(_size(size), pad_value=PAD_VALUE, seg_pad_value=VOID)]


def _resize(*, short_side: int | Sequence[int], max_size: int = 1333) -> list[T.Augmentation]:
    sides = list(short_side) if isinstance(short_side, (list, tuple)) else [short_side]
    _require(bool(sides), "short_side", short_side, "a number of pixels, or a list of them")
    for side in sides:
        _count("short_side", side)
    return [ResizeShortestEdge(sides, _count("max_size", max_size), "choice")]


def _rotate(*, max_angle: float, prob: float = 0.5, expand: bool = False) -> list[T.Augmentation]:
    _number("max_angle", max_angle, above=0)
    _require(max_angle <= 180, "max_angle", max_angle, "at most 180 degrees")
    _require(isinstance(expand, bool), "expand", expand, "True or False")
    rotation = RandomRotation(max_angle, expand=expand)
    return [T.RandomApply(rotation, _share("prob", prob))]


def _color(
    image_format: str,
    *,
    brightness: float = 0.25,
    contrast: float = 0.5,
    saturation: float = 0.5,
    prob: float = 0.5,
) -> list[T.Augmentation]:
    """Each of the three is changed in a share `prob` of the pictures."""
    _share("brightness", brightness)
    _share("contrast", contrast)
    _share("saturation", saturation)
    _share("prob", prob)
    changes = [
        RandomBrightness(1 - brightness, 1 + brightness),
        RandomContrast(1 - contrast, 1 + contrast),
        RandomSaturation(1 - saturation, 1 + saturation, image_format),
    ]
    return [T.RandomApply(change, prob) for change in changes]


def _copy_paste(
    before: Sequence[T.Augmentation], *, prob: float = 0.5, max_instances: int = 5
) -> list[T.Augmentation]:
    count = _count("max_instances", max_instances)
    return [CopyPaste(prob=_share("prob", prob), max_instances=count, before=before)]


def _require(ok: bool, name: str, got: object, expected: str) -> None:
    if not ok:
        raise ValueError(f"{name} must be {expected}, got {got!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _share(name: str, value: float) -> float:
    _require(_is_number(value) and 0 <= value <= 1, name, value, "a number in [0, 1]")
    return value


def _number(name: str, value: float, *, above: float) -> float:
    _require(_is_number(value) and value > above, name, value, f"a number above {above}")
    return value


def _count(name: str, value: int) -> int:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    _require(is_integer and value >= 1, name, value, "an integer of at least 1")
    return value


def _size(size: int | Sequence[int]) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    _require(len(sides) == 2, "size", size, "pixels, or [height, width]")
    return _count("size", sides[0]), _count("size", sides[1])
