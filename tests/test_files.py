"""Files are written whole or not at all, and never over an input."""

from __future__ import annotations

from pathlib import Path

import pytest

from mask2former_mt.files import refuse_inputs, write_whole


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    files = {tmp_path / "a": b"new", tmp_path / "b": b"new"}
    (tmp_path / "a").write_bytes(b"old")

    real = Path.write_bytes

    def interrupted(path, content):
        if ".b." in path.name:
            real(path, content[:1])
            raise KeyboardInterrupt
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(files)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"
    write_whole(files)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a": b"new",
        "b": b"new",
    }


def test_an_input_is_not_written_over_by_another_name(tmp_path):
    (tmp_path / "in.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("in.json")
    (tmp_path / "hard.json").hardlink_to(tmp_path / "in.json")
    for name in ("in.json", "link.json", "hard.json", "../" + tmp_path.name + "/in.json"):
        with pytest.raises(ValueError, match="is the input"):
            refuse_inputs([tmp_path / name], [tmp_path / "in.json"])
    refuse_inputs([tmp_path / "out.json"], [tmp_path / "in.json"])
