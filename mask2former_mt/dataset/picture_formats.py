"""The one list of file names that are taken for pictures, and which of them can be read here."""

from __future__ import annotations

import os
from pathlib import Path

import PIL
from PIL import Image

# What cameras, phones and annotation tools write; whether it is read is another question.
PICTURE_SUFFIXES = frozenset(
    (
        *(".apng", ".arw", ".avif", ".bmp", ".cr2", ".cr3", ".dcm", ".dib", ".dng", ".exr"),
        *(".gif", ".hdr", ".heic", ".heif", ".hif", ".j2c", ".j2k", ".jfif", ".jif", ".jp2"),
        *(".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".jxl", ".mpo", ".nef", ".orf"),
        *(".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".raf"),
        *(".rw2", ".sgi", ".svg", ".tga", ".tif", ".tiff", ".webp"),
    )
)
# Names of JPEG files that Pillow does not list.
_OTHER_NAMES = (".jif",)


def is_picture_name(file: str | os.PathLike) -> bool:
    """Whether a file is named like a picture, of a format that can be read here or not."""
    return Path(file).suffix.lower() in PICTURE_SUFFIXES


def can_read_suffix(suffix: str) -> bool:
    """Whether the installed decoder knows a suffix, such as ".jpg" in any case."""
    suffix = suffix.lower()
    # The list is complete once all plugins are loaded; one registered by the user counts.
    return suffix in _OTHER_NAMES or Image.registered_extensions().get(suffix) in Image.OPEN


def unread_reason(file: str | os.PathLike) -> str:
    """Why a file that exists, and that the decoder does not know, is not read; with the remedy."""
    suffix = Path(file).suffix.lower()
    if suffix in PICTURE_SUFFIXES and not can_read_suffix(suffix):
        return (
            f"the format {suffix} is not read by the installed Pillow {PIL.__version__}; convert "
            "it to PNG or JPEG"
        )
    return (
        "the file cannot be read as an image: it is damaged, no picture, or of a kind that the "
        f"installed Pillow {PIL.__version__} does not read; replace it, or convert it to PNG or "
        "JPEG"
    )
