"""Tux Paint's stamps for prepare_stamps.py: fetched, read, judged and labelled."""

from __future__ import annotations

import collections
import dataclasses
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from PIL import Image

PACKAGE = "tuxpaint-stamps-default"
CLASSES = ("animals", "food", "plants", "vehicles", "household")
STYLES = ("photo", "cartoon")
# Drawings that are not in a folder `cartoon`.
DRAWN = ("animals/mammals/hedgehog.png", "food/pizza.png")
# Neither photo nor cartoon for sure (a black outline, a rendered wheel): their style is unknown.
STYLE_UNCLEAR = (
    "animals/mammals/echidna.png",
    "animals/mammals/rhino_black.png",
    "household/arttools/highlighter.png",
    "vehicles/7spoke256.png",
)
# Lettering to be laid over a car: not a thing of its own.
NOT_A_THING = ("vehicles/emergency/sedan_police.png",)
MIN_STAMPS_OF_GROUP = 4  # a rarer group can't be learned and tested; it is left unknown

MIN_SIDE = 40  # of a stamp's longer side, pixels; smaller ones are a blur when enlarged
MAX_FILL = 0.95  # share of its bounding box; above it, it is a picture with a background
FAINTEST = 25  # alpha of 255 that still counts as part of the stamp's extent
# Share of a stamp's opacity that its mask must hold. With less, most of the thing is half
# transparent (a glass, a leafless tree), and no mask would be right.
MIN_OPACITY_IN_MASK = 0.8
LARGEST_SIDE = 150  # of a stamp in a scene, pixels
STORED_SIDE = 200  # stamps are kept at this size at most


@dataclasses.dataclass
class Stamp:
    """One cut-out and its labels.

    Args:
        name: path below the stamps folder, with slashes.
        rgba: uint8 (h, w, 4), cut to its extent, at most 200 pixels long.
        native_side: longer side of the extent in the file, pixels.
    """

    name: str
    rgba: np.ndarray
    native_side: int

    @property
    def class_name(self) -> str:
        return PurePosixPath(self.name).parts[0]

    @property
    def group(self) -> str | None:
        """The second folder of its path; None where there is none."""
        parts = PurePosixPath(self.name).parts[1:-1]
        return parts[0] if parts and parts[0] != "cartoon" else None

    @property
    def style(self) -> str | None:
        """One of STYLES; None where it is unclear."""
        if self.name in STYLE_UNCLEAR:
            return None
        drawn = self.name in DRAWN or "cartoon" in PurePosixPath(self.name).parts[1:-1]
        return STYLES[drawn]


def scale_rgba(rgba: np.ndarray, factor: float) -> np.ndarray:
    """Resizes with premultiplied colours, so that no hidden colour bleeds into the edge.

    Args:
        rgba: uint8 or float (h, w, 4), 0 to 255, not premultiplied.
        factor: of both sides.

    Returns:
        float32 (h', w', 4), premultiplied: colours 0 to 255, alpha 0 to 1.
    """
    alpha = rgba[..., 3:].astype(np.float32) / 255
    premultiplied = np.concatenate([rgba[..., :3] * alpha, alpha], axis=2).astype(np.float32)
    h, w = rgba.shape[:2]
    size = (max(round(w * factor), 1), max(round(h * factor), 1))
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(premultiplied, size, interpolation=interpolation)


def straight_rgba(premultiplied: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 4), not premultiplied, of the result of `scale_rgba`."""
    alpha = premultiplied[..., 3:]
    colours = premultiplied[..., :3] / np.maximum(alpha, 1e-3)
    rgba = np.concatenate([colours, alpha * 255], axis=2)
    return np.clip(np.rint(rgba), 0, 255).astype(np.uint8)


def read_stamp(root: Path, path: Path) -> tuple[Stamp | None, str]:
    """Reads one PNG, if it is usable as a cut-out.

    Returns:
        The stamp and "", or None and the reason for skipping it.
    """
    if "_mirror" in path.stem:
        return None, "mirrored"
    name = path.relative_to(root).as_posix()
    if name in NOT_A_THING:
        return None, "no thing of its own"
    with Image.open(path) as picture:
        rgba = np.asarray(picture.convert("RGBA"))
    mask = rgba[..., 3] > 127
    if not mask.any():
        return None, "transparent"
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    if max(w, h) < MIN_SIDE:
        return None, "tiny"
    if mask.sum() > MAX_FILL * w * h:
        return None, "opaque"
    # Wider than the mask, to keep the soft edge and to judge what is half transparent.
    x, y, w, h = cv2.boundingRect((rgba[..., 3] > FAINTEST).astype(np.uint8))
    rgba = rgba[y : y + h, x : x + w]
    alpha = scale_rgba(rgba, min(LARGEST_SIDE / max(w, h), 1.0))[..., 3]
    if alpha[alpha > 0.5].sum() < MIN_OPACITY_IN_MASK * alpha.sum():
        return None, "mostly half transparent"
    rgba = straight_rgba(scale_rgba(rgba, min(STORED_SIDE / max(w, h), 1.0)))
    return Stamp(name, rgba, max(w, h)), ""


def read_stamps(root: Path) -> list[Stamp]:
    """All usable stamps of the five classes, sorted by name.

    Raises:
        ValueError: a class folder is missing, or a class has fewer than two stamps.
    """
    missing = [name for name in CLASSES if not (root / name).is_dir()]
    if missing:
        raise ValueError(
            f"stamps folder {root} has no folder {missing[0]!r}; it must be Tux Paint's stamps "
            f"folder with {', '.join(CLASSES)} in it, such as /usr/share/tuxpaint/stamps; "
            "name it with --stamps DIR"
        )
    stamps, skipped = [], collections.Counter()
    for class_name in CLASSES:
        for path in sorted((root / class_name).rglob("*.png")):
            stamp, reason = read_stamp(root, path)
            if stamp is None:
                skipped[reason] += 1
            else:
                stamps.append(stamp)
    counts = collections.Counter(stamp.class_name for stamp in stamps)
    for class_name in CLASSES:
        if counts[class_name] < 2:
            raise ValueError(
                f"stamps folder {root} has {counts[class_name]} usable PNG stamps of class "
                f"{class_name!r}; at least 2 are needed, one for train and one for val"
            )
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
    print(f"read {len(stamps)} stamps below {root}; skipped: {reasons or 'none'}")
    return stamps


def fetch_stamps(cache: Path) -> Path:
    """Downloads and unpacks the Debian package into `cache`, unless it is there; needs no root.

    Returns:
        Its stamps folder.

    Raises:
        ValueError: no apt-get here, or the download failed; the message says what to do.
    """
    cache = cache.resolve()
    unpacked = cache / PACKAGE
    stamps = unpacked / "usr/share/tuxpaint/stamps"
    if stamps.is_dir():
        return stamps
    remedy = (
        "install Tux Paint's stamps by other means (https://tuxpaint.org/download) and give their "
        "folder with --stamps DIR, such as /usr/share/tuxpaint/stamps"
    )
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise ValueError(f"apt-get and dpkg-deb are not on this system; {remedy}")
    work = cache / f"{PACKAGE}.partial"
    if work.exists():
        shutil.rmtree(work)
    # apt's lists may be empty, and only root can update them: the second try makes its own lists.
    lists, archives = work / "apt/lists", work / "apt/cache"
    for folder in (lists / "partial", archives / "archives/partial"):
        folder.mkdir(parents=True)
    own = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={archives}"]
    commands = (
        ["apt-get", "download", PACKAGE],
        ["apt-get", *own, "update"],
        ["apt-get", *own, "download", PACKAGE],
    )
    errors, packages = [], []
    print(f"downloading Debian's {PACKAGE} (161 MB) to {cache}", flush=True)
    for command in commands:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            errors.append(f"`{' '.join(command)}`: {done.stderr.strip()}")
        packages = sorted(work.glob(f"{PACKAGE}_*.deb"))
        if packages:
            break
    else:
        shutil.rmtree(work)
        raise ValueError(
            f"could not download {PACKAGE}:\n" + "\n".join(errors) + "\nrun `sudo apt-get update` "
            f"and try again (Debian or Ubuntu with its universe section), or {remedy}"
        )
    content = work / "content"
    subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(content)], check=True)
    if not (content / "usr/share/tuxpaint/stamps").is_dir():
        raise ValueError(f"{packages[0].name} holds no usr/share/tuxpaint/stamps; {remedy}")
    content.rename(unpacked)
    shutil.rmtree(work)
    return stamps


def _group_sizes(stamps: list[Stamp]) -> collections.Counter:
    return collections.Counter((s.class_name, s.group) for s in stamps if s.group is not None)


def listed_groups(stamps: list[Stamp]) -> list[str]:
    """The groups that have enough stamps to be values, by class and name."""
    sizes = _group_sizes(stamps)
    common = [key for key, size in sizes.items() if size >= MIN_STAMPS_OF_GROUP]
    names = [group for _, group in sorted(common, key=lambda k: (CLASSES.index(k[0]), k[1]))]
    return list(dict.fromkeys(names))


def strata_of(stamps: list[Stamp]) -> list[str]:
    """For each stamp the stratum to split within: its group, or all small groups of its class."""
    sizes = _group_sizes(stamps)
    return [
        f"{s.class_name}/{s.group}"
        if sizes[s.class_name, s.group] >= MIN_STAMPS_OF_GROUP
        else s.class_name
        for s in stamps
    ]
