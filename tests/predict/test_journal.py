"""The journal: finding lines again, lines cut short and damaged, other settings."""

import json
import os
from pathlib import Path

import pytest

from mask2former_mt.predict.batches import stamp_of
from mask2former_mt.predict.journal import Journal

SETTINGS = {"weights": "abc", "MODEL.X": [1, 2]}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "in"
    folder.mkdir()
    files = [folder / name for name in ("a.png", "b.png", "c.mp4")]
    for file in files:
        file.write_bytes(b"12345")
    return files


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def line_of(file: Path, frame: int | None = None, score: float = 0.5) -> dict:
    size, modified = stamp_of(file)
    return {
        "file_name": str(file),
        **({} if frame is None else {"frame": frame}),
        "height": 4,
        "width": 5,
        "picture": f"{file.stem}.png",
        "bytes": size,
        "modified": modified,
        "annotations": [{"score": score}],
    }


def fill(out: Path, *lines: dict) -> None:
    journal = Journal(out, SETTINGS)
    for line in lines:
        journal.append(line)
    journal.close()


def test_lines_are_found_again(files, out):
    a, _, c = files
    fill(out, line_of(a), line_of(c, 0), line_of(c, 1, score=0.25))
    journal = Journal(out, SETTINGS)
    assert [list(journal.frames_of(file)) for file in files] == [[None], [], [0, 1]]
    assert not journal.is_current(c)
    assert journal.read(c, 1)["annotations"] == [{"score": 0.25}]
    assert journal.overlay_names == {str(a): "a.png", str(c): "c.png"}
    # Another program that reads along finds complete lines.
    texts = (out / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(text).get("frame") for text in texts] == [None, 0, 1]


def test_line_is_on_disk_as_soon_as_it_is_written_and_replaces_an_earlier_one(files, out):
    journal = Journal(out, SETTINGS)
    for score in (0.1, 0.2):
        journal.append(line_of(files[0], score=score))
        last = (out / "predictions.jsonl").read_text().splitlines()[-1]
        assert json.loads(last) == line_of(files[0], score=score)
        for reader in (journal, Journal(out, SETTINGS)):
            assert reader.is_current(files[0])
            assert reader.read(files[0])["annotations"] == [{"score": score}]


def test_changed_file_is_not_current(files, out):
    fill(out, line_of(files[0]), line_of(files[1]))
    files[0].write_bytes(b"123456")
    status = files[1].stat()
    os.utime(files[1], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    journal = Journal(out, SETTINGS)
    assert not journal.is_current(files[0])
    assert not journal.is_current(files[1])


def test_relative_and_absolute_paths_are_the_same_file(files, out, monkeypatch):
    monkeypatch.chdir(files[0].parent)
    fill(out, line_of(Path("a.png")))
    assert Journal(out, SETTINGS).is_current(files[0])


@pytest.fixture
def two_lines(files, out) -> list[bytes]:
    """The lines of the first two files, which the journal holds."""
    fill(out, line_of(files[0]), line_of(files[1]))
    return (out / "predictions.jsonl").read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    "cut",
    [lambda line: line[:1], lambda line: line[:20], lambda line: line[:-1], lambda _: b"\0" * 40],
    ids=["first letter", "20 letters", "all but the line break", "crash of the machine"],
)
def test_cut_last_line_is_removed(files, out, two_lines, cut):
    (out / "predictions.jsonl").write_bytes(two_lines[0] + cut(two_lines[1]))
    journal = Journal(out, SETTINGS)
    assert journal.is_current(files[0])
    assert not journal.is_current(files[1])
    assert (out / "predictions.jsonl").read_bytes() == two_lines[0]
    journal.append(line_of(files[1]))
    journal.close()
    assert Journal(out, SETTINGS).is_current(files[1])


@pytest.mark.parametrize("damaged", [b"nonsense\n", b"{}\n", b"[1]\n"])
def test_damaged_line_is_named(out, two_lines, damaged):
    (out / "predictions.jsonl").write_bytes(two_lines[0] + damaged + two_lines[1])
    with pytest.raises(ValueError, match=r"jsonl line 2 is damaged; .*--overwrite"):
        Journal(out, SETTINGS)


def test_other_settings_are_refused_and_named(files, out):
    fill(out, line_of(files[0]))
    with pytest.raises(ValueError, match=r"MODEL.X was \[1, 2\] and is now \[1, 3\].*--overwrite"):
        Journal(out, {**SETTINGS, "MODEL.X": [1, 3]})
    with pytest.raises(ValueError, match=r"new was None and is now True"):
        Journal(out, {**SETTINGS, "new": True})
    journal = Journal(out, {**SETTINGS, "MODEL.X": [1, 3]}, overwrite=True)
    assert not journal.is_current(files[0])
    journal.close()
    with pytest.raises(ValueError, match=r"MODEL.X was \[1, 3\]"):
        Journal(out, SETTINGS)


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{"])
def test_lines_without_settings_are_refused(files, out, content):
    fill(out, line_of(files[0]))
    (out / "settings.json").unlink()
    if content is not None:
        (out / "settings.json").write_bytes(content)
    with pytest.raises(ValueError, match="--overwrite"):
        Journal(out, SETTINGS)


def test_nan_never_reaches_the_file(files, out):
    with pytest.raises(ValueError, match="Out of range float"):
        Journal(out, SETTINGS).append(line_of(files[0], score=float("nan")))
    assert (out / "predictions.jsonl").read_bytes() == b""
