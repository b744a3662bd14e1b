"""Scenes for the prepare scripts: cut-outs pasted on backgrounds, and what is visible of each."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask as coco_mask

# H, W the scene; h, w one cut-out. Colours are RGB, alpha is in [0, 1].

SPLITS = ("train", "val")
# scikit-image's photographs that come inside its wheel; its drawings, scans of text and charts
# (page, text, logo, phantom, ...) are left out.
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
# The share of each photograph, along its longer side, that train scenes are cut from. Val scenes
# are cut from the rest, so that no pixel of a background is in both.
TRAIN_SHARE_OF_PHOTOGRAPH = 0.6


@dataclasses.dataclass
class CutOut:
    """One object before it is pasted.

    Args:
        rgb: uint8 (h, w, 3).
        alpha: float32 (h, w) in [0, 1].
        annotation: `category_id`, `subcategories` and further keys of its annotation.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    annotation: dict

    @functools.cached_property
    def mask(self) -> np.ndarray:
        """bool (h, w): where the object covers more than half of the pixel."""
        return self.alpha > 0.5


class Scene:
    """A picture under composition: each cut-out lies on top of those pasted before it.

    Args:
        background: uint8 (H, W, 3).
    """

    def __init__(self, background: np.ndarray) -> None:
        self.image = background.astype(np.float32)
        # The number of the topmost object at each pixel, -1 for the background.
        self.owner = np.full(background.shape[:2], -1, np.int32)
        self.cut_outs: list[CutOut] = []
        self.full_areas: list[int] = []
        self.visible_areas: list[int] = []

    def _overlap(self, cut_out: CutOut, x: int, y: int) -> tuple[tuple, tuple]:
        H, W = self.owner.shape
        h, w = cut_out.alpha.shape
        top, left, bottom, right = max(y, 0), max(x, 0), min(y + h, H), min(x + w, W)
        in_scene = (slice(top, max(bottom, top)), slice(left, max(right, left)))
        in_cut_out = tuple(
            slice(s.start - offset, s.stop - offset)
            for s, offset in zip(in_scene, (y, x), strict=True)
        )
        return in_scene, in_cut_out

    def under(self, cut_out: CutOut, x: int, y: int) -> tuple[np.ndarray, np.ndarray]:
        """What a cut-out would cover with its top left corner at (x, y), in pixels.

        Returns:
            Colours, float32 (P, 3), and owners, int32 (P,), of the P pixels below its mask.
        """
        in_scene, in_cut_out = self._overlap(cut_out, x, y)
        mask = cut_out.mask[in_cut_out]
        return self.image[in_scene][mask], self.owner[in_scene][mask]

    def visible_fractions_after(self, cut_out: CutOut, x: int, y: int) -> list[float]:
        """Visible share of each object, the cut-out last, if it were pasted at (x, y).

        Shares of the whole mask, including what lies outside the picture.
        """
        _, owners = self.under(cut_out, x, y)
        covered = np.bincount(owners + 1, minlength=len(self.cut_outs) + 1)[1:]
        visible = np.asarray(self.visible_areas) - covered
        fractions = visible / np.maximum(self.full_areas, 1)
        return [*fractions.tolist(), len(owners) / max(int(cut_out.mask.sum()), 1)]

    def paste(self, cut_out: CutOut, x: int, y: int) -> None:
        """Blends a cut-out in, its top left corner at (x, y) in pixels; it may reach outside."""
        in_scene, in_cut_out = self._overlap(cut_out, x, y)
        alpha = cut_out.alpha[in_cut_out][..., None]
        self.image[in_scene] += alpha * (cut_out.rgb[in_cut_out] - self.image[in_scene])
        self.owner[in_scene][cut_out.mask[in_cut_out]] = len(self.cut_outs)
        self.cut_outs.append(cut_out)
        self.full_areas.append(int(cut_out.mask.sum()))
        counts = np.bincount(self.owner.ravel() + 1, minlength=len(self.cut_outs) + 1)
        self.visible_areas = counts[1:].tolist()

    def annotations(self, crowd_below: float = 0.0) -> list[dict]:
        """COCO annotations without ids, of the visible parts; none for an object that is hidden.

        Args:
            crowd_below: objects with a smaller visible share get `iscrowd` 1.
        """
        annotations = []
        for number, cut_out in enumerate(self.cut_outs):
            mask = self.owner == number
            area = int(mask.sum())
            if area == 0:
                continue
            rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
            fraction = area / self.full_areas[number]
            annotations.append(
                {
                    **cut_out.annotation,
                    "segmentation": {**rle, "counts": rle["counts"].decode("ascii")},
                    "area": area,
                    "bbox": [int(v) for v in cv2.boundingRect(mask.astype(np.uint8))],
                    "iscrowd": int(fraction < crowd_below),
                    "visible": round(fraction, 4),
                }
            )
        return annotations


@functools.cache
def photographs() -> tuple[np.ndarray, ...]:
    """scikit-image's bundled photographs, uint8 (h, w, 3), RGB.

    Raises:
        FileNotFoundError: the installed scikit-image does not bundle one of them.
    """
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    pictures = []
    for name in PHOTOGRAPHS:
        bgr = cv2.imread(str(folder / name), cv2.IMREAD_COLOR) if (folder / name).exists() else None
        if bgr is None:
            raise FileNotFoundError(
                f"scikit-image {skimage.__version__} has no photograph {folder / name}; "
                "install the version that constraints.txt names"
            )
        pictures.append(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    return tuple(pictures)


def random_background(rng: np.random.Generator, width: int, height: int, split: str) -> np.ndarray:
    """A random crop of a photograph, flipped, scaled, and changed in brightness and contrast.

    Args:
        rng: the scene's own generator.
        width: W, pixels.
        height: H, pixels.
        split: "train" or "val": which part of each photograph it is cut from.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    photograph = photographs()[rng.integers(len(PHOTOGRAPHS))]
    axis = 0 if photograph.shape[0] >= photograph.shape[1] else 1
    cut = round(TRAIN_SHARE_OF_PHOTOGRAPH * photograph.shape[axis])
    photograph = np.split(photograph, [cut], axis=axis)[SPLITS.index(split)]
    # The largest crop of the scene's shape, then between 45 % and 100 % of that.
    largest = min(photograph.shape[0] / height, photograph.shape[1] / width)
    zoom = largest * rng.uniform(0.45, 1.0)
    h, w = max(int(height * zoom), 2), max(int(width * zoom), 2)
    top = rng.integers(photograph.shape[0] - h + 1)
    left = rng.integers(photograph.shape[1] - w + 1)
    crop = photograph[top : top + h, left : left + w]
    interpolation = cv2.INTER_AREA if zoom > 1 else cv2.INTER_LINEAR
    crop = cv2.resize(crop, (width, height), interpolation=interpolation)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    gain, offset = rng.uniform(0.7, 1.2), rng.uniform(-25, 25)
    # A colour cast each, so that fourteen photographs look like many.
    cast = rng.uniform(0.88, 1.12, size=3)
    changed = (crop.astype(np.float32) - 128) * gain * cast + 128 + offset
    return np.clip(changed, 0, 255).astype(np.uint8)
