"""Samples deeper than 8 bits, scaled by their type's range or by a given one."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from mask2former_mt.dataset.bit_depth import to_8_bits
from mask2former_mt.dataset.converted_pictures import ConvertedPictures
from mask2former_mt.dataset.images import read_image, read_picture_header


def enlarged(values: list[list[int]], dtype=np.uint8) -> np.ndarray:
    """Each value as a square of 32 x 32 pixels: OpenCV writes no JPEG 2000 of a few pixels."""
    return np.kron(np.array(values, dtype), np.ones((32, 32), dtype))


RAMP = enlarged([[0, 257, 4095], [32768, 65278, 65535]], np.uint16)
# v / 257, rounded: 4095 / 257 = 15.9, 32768 / 257 = 127.502, 65278 / 257 = 254.
FULL = enlarged([[0, 1, 16], [128, 254, 255]])
# v / 4095 * 255, clipped: 257 / 4095 * 255 = 16.004.
TWELVE_BITS = enlarged([[0, 16, 255], [255, 255, 255]])


def test_what_lies_outside_is_clipped_and_what_is_no_number_is_black():
    samples = np.array([[-5.0, 0.0, 1.0], [2.0, np.nan, np.inf]], np.float32)
    # From -1 to 1: 0 is in the middle, 127.5, rounded to the even neighbour.
    assert to_8_bits(samples, -1, 1).tolist() == [[0, 128, 255], [255, 0, 255]]
    assert to_8_bits(np.zeros((0, 3), np.uint16), 0, 9).shape == (0, 3)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".jp2"])
@pytest.mark.parametrize(("depth_range", "expected"), [((), FULL), ([0, 4095], TWELVE_BITS)])
def test_16_bits_of_grey(tmp_path, suffix, depth_range, expected):
    file = tmp_path / f"a{suffix}"
    lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000] if suffix == ".jp2" else []
    assert cv2.imwrite(str(file), RAMP, lossless)
    assert read_picture_header(file).depth.full_range == (0, 65535)
    pixels = read_image(file, "RGB", depth_range)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.dstack([expected] * 3))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm", ".jp2"])
@pytest.mark.parametrize(("depth_range", "expected"), [((), FULL), ([0, 4095], TWELVE_BITS)])
def test_16_bits_of_colour_are_not_reduced_before_they_are_scaled(
    tmp_path, suffix, depth_range, expected
):
    file = tmp_path / f"a{suffix}"
    blue = np.full_like(RAMP, 4095)
    lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000] if suffix == ".jp2" else []
    assert cv2.imwrite(str(file), np.dstack([blue, RAMP[:, ::-1], RAMP]), lossless)
    red, green, _ = read_image(file, "RGB", depth_range).transpose(2, 0, 1)
    np.testing.assert_array_equal(red, expected)
    np.testing.assert_array_equal(green[:, ::-1], expected)
    assert (read_image(file, "BGR", depth_range)[..., 2] == red).all()


def test_16_bits_with_transparency(tmp_path):
    alpha = np.zeros_like(RAMP)
    assert cv2.imwrite(str(tmp_path / "a.png"), np.dstack([RAMP, RAMP, RAMP, alpha]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", "RGB"), np.dstack([FULL] * 3))


@pytest.mark.parametrize(
    ("samples", "name"),
    [
        (np.array([[0, 50], [100, 200]], np.int32), "32-bit integers"),
        (np.array([[0, 0.25], [0.5, 1]], np.float32), "floats"),
    ],
)
def test_a_type_without_a_range_needs_one(tmp_path, samples, name):
    file = tmp_path / "a.tif"
    Image.fromarray(samples).save(file)
    with pytest.raises(
        ValueError, match=rf"a\.tif cannot be read: it holds {name}.*DEPTH_RANGE.*bits$"
    ):
        read_image(file, "RGB")
    high = float(samples.max())
    expected = np.rint(samples / high * 255).tolist()  # 0, a quarter, a half, 1
    assert read_image(file, "RGB", [0, high])[..., 0].tolist() == expected


def test_unsigned_32_bits_do_not_become_negative(tmp_path):
    file = tmp_path / "a.tif"
    Image.fromarray(np.array([[0, -1]], np.int32)).save(file)
    content = file.read_bytes()
    # The entry of SampleFormat: tag 339, type SHORT, one value, 2 for signed.
    signed, unsigned = (b"\x53\x01\x03\0\x01\0\0\0" + bytes([n, 0]) for n in (2, 1))
    assert signed in content
    file.write_bytes(content.replace(signed, unsigned))
    # -1 is 2 ** 32 - 1 without a sign.
    assert read_image(file, "RGB", [0, 2**32 - 1])[..., 0].tolist() == [[0, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("colour", [False, True])
def test_deep_pictures_are_turned_like_others(tmp_path, orientation, colour):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(FULL).convert("RGB").save(tmp_path / "a.png", exif=exif)
    samples = np.dstack([RAMP] * 3) if colour else RAMP
    assert cv2.imwrite(str(tmp_path / "b.png"), samples)
    if colour:
        # Pillow writes no 16 bits of colour: the chunk is moved.
        content = (tmp_path / "a.png").read_bytes()
        start = content.index(b"eXIf") - 4
        chunk = content[start : start + 12 + int.from_bytes(content[start : start + 4], "big")]
        deep = (tmp_path / "b.png").read_bytes()
        at = deep.index(b"IDAT") - 4
        (tmp_path / "b.png").write_bytes(deep[:at] + chunk + deep[at:])
    else:
        Image.fromarray(RAMP).save(tmp_path / "b.png", exif=exif)
    expected = read_image(tmp_path / "a.png", "RGB")
    np.testing.assert_array_equal(read_image(tmp_path / "b.png", "RGB"), expected)
    assert read_picture_header(tmp_path / "b.png").size == expected.shape[:2]


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [*itertools.product(["1", "L", "P", "LA", "RGBA"], [".png", ".tif"]), ("CMYK", ".tif")],
)
def test_8_bits_and_fewer_stay_as_they_are(tmp_path, mode, suffix):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).convert(mode)
    picture.save(tmp_path / f"a{suffix}")
    assert read_picture_header(tmp_path / f"a{suffix}").depth is None
    expected = np.asarray(picture.convert("RGB"))
    pixels = read_image(tmp_path / f"a{suffix}", "RGB", [0, 4095])
    np.testing.assert_array_equal(pixels, expected)


def test_of_several_frames_the_first_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 6), (value, 0, 0)) for value in (255, 51)]
    converted = ConvertedPictures()
    for suffix in (".gif", ".webp", ".png", ".tif", ".avif"):
        file = tmp_path / f"a{suffix}"
        frames[0].save(file, save_all=True, append_images=frames[1:])
        assert abs(int(read_image(file, "RGB")[0, 0, 0]) - 255) <= 4
        converted.add(str(file), read_picture_header(file))
    assert converted.num_with_frames == 5
    (line,) = converted.describe(())
    assert "5 pictures have several frames or pages" in line
    assert "a.gif): the first is read" in line


def test_which_pictures_are_converted_is_told(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    Image.fromarray(np.float32(RAMP)).save(tmp_path / "b.tif")
    converted = ConvertedPictures()
    converted.add("a.png", read_picture_header(tmp_path / "a.png"))
    assert converted.describe(()) == [
        "1 pictures of 16-bit integers (such as a.png) are read as 8 bits: 0 to 65535, the range "
        "of their type"
    ]
    converted.add("b.tif", read_picture_header(tmp_path / "b.tif"))
    with pytest.raises(ValueError, match=r"1 pictures of floats .*b\.tif.* cannot be read: .*set"):
        converted.describe(())
    assert converted.describe([0, 9])[1].endswith("0 to 9, INPUT.DEPTH_RANGE")
