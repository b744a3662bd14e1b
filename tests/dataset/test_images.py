"""The size that a picture will have when it is read, without decoding it."""

from __future__ import annotations

import itertools
import struct
import zlib

import numpy as np
import pytest
from detectron2.data import detection_utils
from PIL import Image, PngImagePlugin

from mask2former_mt.dataset.images import read_image, read_picture_header

HEIGHT, WIDTH = 30, 40
ORIENTATION = 274
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def insert(file, data: bytes, before: bytes) -> None:
    content = file.read_bytes()
    at = content.index(before) - 4
    file.write_bytes(content[:at] + data + content[at:])


@pytest.mark.parametrize(
    ("suffix", "orientation"),
    [*itertools.product([".jpg", ".png", ".webp", ".tif"], range(1, 9)), (".bmp", None)],
)
def test_it_is_the_size_that_reading_gives(tmp_path, suffix, orientation):
    file = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    picture().save(file, **({} if orientation is None else {"exif": exif}))
    read = read_image(file, "RGB")
    assert read_picture_header(file).size == read.shape[:2]
    assert read.shape[:2] == ((WIDTH, HEIGHT) if (orientation or 1) >= 5 else (HEIGHT, WIDTH))
    # Pillow turns a TIFF when it decodes it, and detectron2 then turns it once more.
    if suffix != ".tif":
        np.testing.assert_array_equal(read, detection_utils.read_image(file, "RGB"))


EXIF_6 = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize(
    "data",
    [
        chunk(b"eXIf", EXIF_6),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        chunk(
            b"tEXt", b"Raw profile type exif\0\nexif\n 34\n" + (b"Exif\0\0" + EXIF_6).hex().encode()
        ),
    ],
    ids=["exif", "xmp", "raw profile"],
)
def test_every_place_where_a_png_may_say_it(tmp_path, data, before):
    file = tmp_path / "a.png"
    picture().save(file)
    insert(file, data, before)
    assert read_image(file, "RGB").shape[:2] == (WIDTH, HEIGHT)
    assert read_picture_header(file).size == (WIDTH, HEIGHT)


def test_a_png_is_not_decoded(tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "a" * 100)
    picture().save(file, pnginfo=info)

    def refuse(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", refuse)
    assert read_picture_header(file).size == (HEIGHT, WIDTH)
    # The same of one that is cut short, which is found when it is decoded.
    file.write_bytes(file.read_bytes()[:-200])
    assert read_picture_header(file).size == (HEIGHT, WIDTH)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_damaged_exif_data_do_not_turn_it(tmp_path, suffix):
    file = tmp_path / f"a{suffix}"
    picture().save(file, exif=b"Exif\0\0MM damaged")
    assert read_image(file, "RGB").shape[:2] == (HEIGHT, WIDTH)
    assert read_picture_header(file).size == (HEIGHT, WIDTH)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_refused(tmp_path, content):
    file = tmp_path / "a.png"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="the file cannot be read as an image"):
        read_picture_header(file)
    with pytest.raises(FileNotFoundError):
        read_picture_header(tmp_path / "b.png")
