"""Prepares the digits dataset: handwritten digits (scikit-learn) on photographs (scikit-image).

Class is the digit; subcategories are `ink` (five colours) and `size` (small, medium, large).
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np
from _scenes import CutOut, Scene, random_background
from _writing import Draw, Recipe, make_parser, prepare, split_stratified

VERSION = 1
INKS = {
    "red": (215, 30, 30),
    "green": (25, 165, 55),
    "blue": (40, 70, 225),
    "yellow": (245, 220, 40),
    "magenta": (225, 45, 205),
}
# Height of the whole digit in pixels of a 192×192 scene; the gaps keep the labels well defined.
SIZES = {"small": (24, 30), "medium": (38, 46), "large": (56, 70)}
REFERENCE_SIDE = 192
MIN_VISIBLE = 0.6
UNKNOWN_SHARE = 0.15
MIN_CONTRAST = 80.0  # RGB distance from the ink to most of what lies below it
TRIES = 25  # positions tried for one digit before it is given up


def render_digit(
    scan: np.ndarray, height: float, degrees: float, shear: float, stretch: float
) -> np.ndarray:
    """Scales an 8×8 scan up to soft-edged strokes whose mask is `height` pixels high.

    Args:
        scan: (8, 8), 0 to 16.
        height: of the mask after turning, pixels, 8 or more.
        degrees: of rotation, counter-clockwise.
        shear: x per y.
        stretch: width over the scan's own.

    Returns:
        float32 (h, w) in [0, 1], cut to where it is not 0.
    """
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    form = turn @ np.array([[stretch, shear], [0.0, 1.0]])
    ink = scan.astype(np.float32) / 16

    def draw(scale: float) -> np.ndarray:
        side = int(np.ceil(16 * scale))
        matrix = scale * form
        # The middle of the scan, pixel (3.5, 3.5), goes to the middle of the canvas.
        offset = (side - 1) / 2 - matrix @ np.array([3.5, 3.5])
        affine = np.concatenate([matrix, offset[:, None]], axis=1)
        smooth = cv2.warpAffine(ink, affine, (side, side), flags=cv2.INTER_CUBIC)
        # A stroke's flank takes about `scale` pixels; steepen it to about two.
        return np.clip((smooth - 0.42) * max(0.6 * scale, 1.0) + 0.5, 0, 1)

    def mask_height(alpha: np.ndarray) -> int:
        return int(np.flatnonzero((alpha > 0.5).any(axis=1))[[0, -1]] @ [-1, 1]) + 1

    scale = height / 7.0
    for _ in range(2):
        scale *= height / mask_height(draw(scale))
    alpha = draw(scale)
    x, y, w, h = cv2.boundingRect((alpha > 0).astype(np.uint8))
    return np.ascontiguousarray(alpha[y : y + h, x : x + w])


def random_digit(
    rng: np.random.Generator, scans: np.ndarray, labels: np.ndarray, items: list[int], side: int
) -> CutOut:
    """One of the scans in a random ink, size and form.

    Args:
        rng: the scene's own generator.
        scans: (N, 8, 8), 0 to 16.
        labels: (N,), the digit of each.
        items: the scans of the split.
        side: of the scene, in pixels.
    """
    number = items[rng.integers(len(items))]
    ink = list(INKS)[rng.integers(len(INKS))]
    size = list(SIZES)[rng.integers(len(SIZES))]
    height = rng.uniform(*SIZES[size]) * side / REFERENCE_SIDE
    alpha = render_digit(
        scans[number],
        height,
        degrees=rng.uniform(-12, 12),
        shear=rng.uniform(-0.15, 0.15),
        stretch=rng.uniform(0.85, 1.15),
    )
    colour = np.clip(np.array(INKS[ink]) + rng.uniform(-18, 18, size=3), 0, 255)
    subcategories = {"ink": ink, "size": size}
    if rng.random() < UNKNOWN_SHARE:
        del subcategories[("ink", "size")[rng.integers(2)]]
    rows = np.flatnonzero((alpha > 0.5).any(axis=1))
    annotation = {
        "category_id": int(labels[number]) + 1,
        "subcategories": subcategories,
        "scan": int(number),
        # Of the whole digit, where its box may be of a part.
        "digit_height": int(rows[-1] - rows[0] + 1),
    }
    rgb = np.broadcast_to(colour.astype(np.uint8), (*alpha.shape, 3))
    return CutOut(rgb, alpha, annotation)


def _fits(scene: Scene, digit: CutOut, x: int, y: int) -> bool:
    """Whether all stay visible enough, and the digit stands out from what it would cover."""
    if min(scene.visible_fractions_after(digit, x, y)) < MIN_VISIBLE:
        return False
    below, owners = scene.under(digit, x, y)
    ink = digit.rgb[0, 0].astype(np.float32)
    if np.median(np.linalg.norm(below - ink, axis=1)) < MIN_CONTRAST:
        return False
    # Two digits of one ink that touch would run into each other.
    touched = {int(owner) for owner in np.unique(owners) if owner >= 0}
    return all(
        np.linalg.norm(scene.cut_outs[t].rgb[0, 0].astype(np.float32) - ink) > MIN_CONTRAST
        for t in touched
    )


def make_draw(
    scans: np.ndarray, labels: np.ndarray, parts: dict[str, list[int]], side: int
) -> Draw:
    """Returns what draws one scene of `side` pixels square from the scans of its split."""

    def draw(rng: np.random.Generator, split: str) -> tuple[np.ndarray, list[dict]]:
        scene = Scene(random_background(rng, side, side, split))
        wanted = int(rng.integers(2, 9))
        if split == "train":
            # Fuller pictures teach more at the same cost; validation stays evenly spread.
            wanted = max(wanted, int(rng.integers(2, 9)))
        while True:
            for _ in range(wanted):
                digit = random_digit(rng, scans, labels, parts[split], side)
                h, w = digit.alpha.shape
                for _ in range(TRIES):
                    x, y = int(rng.integers(side - w + 1)), int(rng.integers(side - h + 1))
                    if _fits(scene, digit, x, y):
                        scene.paste(digit, x, y)
                        break
            if len(scene.cut_outs) >= 2:
                break
            wanted = 1
        image = np.clip(np.rint(scene.image), 0, 255).astype(np.uint8)
        return image, scene.annotations()

    return draw


def read_recipe(args: argparse.Namespace) -> Recipe:
    """Reads scikit-learn's scans and splits them."""
    # Imported here, as the worker processes have no need of it.
    from sklearn.datasets import load_digits

    digits = load_digits()
    parts = split_stratified(digits.target, args.seed)
    return Recipe(
        description="Handwritten digits on photographs",
        source="scikit-learn load_digits (UCI optical recognition of handwritten "
        "digits, CC BY 4.0) on scikit-image's bundled photographs",
        class_names=tuple(map(str, range(10))),
        subcategories={"ink": list(INKS), "size": list(SIZES)},
        make_draw=make_draw,
        arguments=(digits.images, digits.target, parts, args.size),
    )


def main(argv: list[str] | None = None) -> None:
    """The command; see --help."""
    parser = make_parser(
        "digits", __doc__, train=3000, val=200, size=192, size_help="side in pixels"
    )
    args = parser.parse_args(argv)
    prepare("digits", parser, args, lambda: read_recipe(args), version=VERSION, min_size=96)


if __name__ == "__main__":
    main()
