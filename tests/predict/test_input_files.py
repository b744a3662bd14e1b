"""Which files paths, folders and globs stand for, and which are left out."""

import pytest
from PIL import Image

from mask2former_mt.predict.input_files import count_left_out, find_inputs, left_out_text


def test_files_folders_and_globs_each_once(pictures):
    a, b = pictures / "a.JPG", pictures / "b.png"
    assert find_inputs([pictures]) == [a, b]
    assert find_inputs([b, pictures, pictures / "*.png"]) == [b, a]
    assert find_inputs([str(pictures / "*")]) == [a, b]


def test_file_with_a_globs_letters_in_its_name(pictures):
    odd = (pictures / "b.png").rename(pictures / "b[1].png")
    assert find_inputs([odd]) == [odd]


def test_formats_that_the_decoder_knows_are_taken_and_the_others_are_counted(tmp_path):
    image = Image.new("RGB", (8, 6))
    names = ("a.avif", "b.gif", "c.jfif", "d.jp2", "e.TIF")
    for name in names:
        image.save(tmp_path / name)
    for name in ("f.heic", "g.HEIC", "h.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [file.name for file in find_inputs([tmp_path])] == list(names)
    left_out = count_left_out([tmp_path, tmp_path / "*", tmp_path / "a.avif"])
    assert left_out_text(left_out) == (
        "2 files left out: .heic, a format that the installed Pillow does not read; "
        "1 file left out: not named like a picture or a video"
    )


def test_a_folder_of_other_files_says_what_is_there(tmp_path):
    (tmp_path / "f.heic").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"no pictures .* \(1 file left out: \.heic"):
        find_inputs([tmp_path])
    with pytest.raises(ValueError, match=r"format \.heic is not read .*convert it to PNG"):
        find_inputs([tmp_path / "f.heic"])
