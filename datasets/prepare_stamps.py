"""Prepares the stamps dataset: Tux Paint's cut-outs of real things on photographs.

Class is the first folder of the stamp (animals, food, plants, vehicles, household); subcategories
are `group` (second folder) and `style` (photo, cartoon). The cut-outs come from the Debian package
tuxpaint-stamps-default, or from the folder that --stamps names.
"""

from __future__ import annotations

import argparse
import collections
from pathlib import Path

import cv2
import numpy as np
from _scenes import SPLITS, CutOut, Scene, random_background
from _stamps import (
    CLASSES,
    LARGEST_SIDE,
    PACKAGE,
    STYLES,
    Stamp,
    fetch_stamps,
    listed_groups,
    read_stamps,
    scale_rgba,
    straight_rgba,
    strata_of,
)
from _writing import Draw, Recipe, make_parser, prepare, split_stratified

VERSION = 1
REFERENCE_WIDTH = 320  # of the scene that SIDES is for, pixels
SIDES = (60, LARGEST_SIDE)  # smallest and largest of a stamp's longer side, pixels
MAX_ENLARGEMENT = 2.0
GOOD_VISIBLE = 0.5  # positions that leave less of any stamp visible are tried again
CROWD_BELOW = 0.3
MIN_CONTRAST = 40.0  # RGB distance of a stamp's median colour to that of what lies below it
TRIES = 12


def labels_of(stamp: Stamp, groups: list[str]) -> dict[str, str | None]:
    """Value per subcategory, None for none; `groups` are those that are values.

    What cannot be told, and a group that is no value, is unknown and has no key.
    """
    labels: dict[str, str | None] = {}
    if stamp.group is None or stamp.group in groups:
        labels["group"] = stamp.group
    if stamp.style is not None:
        labels["style"] = stamp.style
    return labels


def _random_cut_out(
    rng: np.random.Generator, stamp: Stamp, groups: list[str], unit: float
) -> CutOut:
    """The stamp at a random size, turn and brightness.

    Args:
        unit: width of the scene / REFERENCE_WIDTH.
    """
    h, w = stamp.rgba.shape[:2]
    low, high = SIDES[0] * unit, min(SIDES[1], MAX_ENLARGEMENT * stamp.native_side) * unit
    side = np.exp(rng.uniform(np.log(low), np.log(high)))
    rgba = scale_rgba(stamp.rgba, side / max(h, w))
    if rng.random() < 0.5:
        rgba = rgba[:, ::-1]
    h, w = rgba.shape[:2]
    canvas = int(np.ceil(np.hypot(h, w))) + 2
    turn = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), rng.uniform(-15, 15), 1.0)
    turn[:, 2] += (canvas - w) / 2, (canvas - h) / 2
    rgba = cv2.warpAffine(np.ascontiguousarray(rgba), turn, (canvas, canvas))
    x, y, w, h = cv2.boundingRect((rgba[..., 3] > 0.02).astype(np.uint8))
    rgba = straight_rgba(rgba[y : y + h, x : x + w])
    gain = rng.uniform(0.8, 1.15) * rng.uniform(0.95, 1.05, size=3)
    rgb = np.clip(rgba[..., :3] * gain, 0, 255).astype(np.uint8)
    annotation = {
        "category_id": CLASSES.index(stamp.class_name) + 1,
        "subcategories": labels_of(stamp, groups),
        "stamp": stamp.name,
    }
    return CutOut(rgb, rgba[..., 3].astype(np.float32) / 255, annotation)


def _stands_out(scene: Scene, cut_out: CutOut, x: int, y: int) -> bool:
    below, _ = scene.under(cut_out, x, y)
    if len(below) == 0:
        return False
    # Medians of both: on gravel every pixel differs from a grey tool, and yet it is lost there.
    typical = np.median(cut_out.rgb[cut_out.mask].astype(np.float32), axis=0)
    return float(np.linalg.norm(np.median(below, axis=0) - typical)) >= MIN_CONTRAST


def make_draw(
    stamps: list[Stamp], parts: dict[str, list[int]], groups: list[str], width: int
) -> Draw:
    """Returns what draws one scene, `width` by 3/4 `width` pixels, from its split's stamps."""
    height = width * 3 // 4
    # Per split and class: the stamps, and weights that keep a large group (mammals) from
    # crowding out the others of its class.
    choices: dict[str, list[tuple[list[Stamp], np.ndarray]]] = {}
    for split in SPLITS:
        choices[split] = []
        for class_name in CLASSES:
            members = [stamps[i] for i in parts[split] if stamps[i].class_name == class_name]
            # All rare groups count as one, or their few stamps would be everywhere.
            pools = [s.group if s.group in groups else None for s in members]
            sizes = collections.Counter(pools)
            weights = np.array([sizes[pool] ** -0.5 for pool in pools])
            choices[split].append((members, weights / weights.sum()))

    def draw(rng: np.random.Generator, split: str) -> tuple[np.ndarray, list[dict]]:
        scene = Scene(random_background(rng, width, height, split))
        wanted = int(rng.integers(2, 7))
        while len(scene.cut_outs) < wanted:
            members, weights = choices[split][rng.integers(len(CLASSES))]
            stamp = members[rng.choice(len(members), p=weights)]
            cut_out = _random_cut_out(rng, stamp, groups, width / REFERENCE_WIDTH)
            h, w = cut_out.alpha.shape
            for _ in range(TRIES):
                # The middle lies inside the picture.
                x, y = int(rng.integers(width)) - w // 2, int(rng.integers(height)) - h // 2
                good = min(scene.visible_fractions_after(cut_out, x, y)) >= GOOD_VISIBLE
                if good and _stands_out(scene, cut_out, x, y):
                    break
            # In a crowded scene no position is good; the last one then covers others, as life does.
            if _stands_out(scene, cut_out, x, y):
                scene.paste(cut_out, x, y)
        image = np.clip(np.rint(scene.image), 0, 255).astype(np.uint8)
        return image, scene.annotations(crowd_below=CROWD_BELOW)

    return draw


def read_recipe(args: argparse.Namespace) -> Recipe:
    """Reads the stamps, downloaded or from --stamps, and splits them."""
    stamps = read_stamps(args.stamps if args.stamps else fetch_stamps(args.cache))
    groups = listed_groups(stamps)
    # Split within each group that is large enough, so that every value is in train and in val.
    parts = split_stratified(np.array(strata_of(stamps)), args.seed)
    return Recipe(
        description="Tux Paint stamps on photographs",
        source=f"Debian package {PACKAGE} (GPL-2) on scikit-image's bundled photographs",
        class_names=CLASSES,
        subcategories={"group": groups, "style": list(STYLES)},
        make_draw=make_draw,
        arguments=(stamps, parts, groups, args.size),
    )


def main(argv: list[str] | None = None) -> None:
    """The command; see --help."""
    parser = make_parser(
        "stamps", __doc__, train=4000, val=300, size=320, size_help="width; height is 3/4"
    )
    parser.add_argument("--stamps", type=Path, help="Tux Paint's stamps folder; not downloaded")
    cache = Path(__file__).resolve().parent / ".cache"
    parser.add_argument("--cache", type=Path, default=cache, help="for the download (%(default)s)")
    args = parser.parse_args(argv)
    prepare(
        "stamps",
        parser,
        args,
        lambda: read_recipe(args),
        version=VERSION,
        min_size=160,
        extra_parameters={"stamps": str(args.stamps.resolve()) if args.stamps else PACKAGE},
    )


if __name__ == "__main__":
    main()
