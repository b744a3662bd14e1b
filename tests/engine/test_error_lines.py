"""What a user is told of an error."""

from __future__ import annotations

import errno
import logging
import sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mask2former_mt.engine.error_lines import line_of, without_traceback


def raised(action) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any kind
        action()
    return caught.value


class Broken(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int):
        raise ValueError("a.jpg: line one\nline two: end")


@pytest.mark.parametrize(
    ("action", "line"),
    [
        (
            lambda folder: (folder / "no.txt").read_text(),
            "{}/no.txt does not exist (No such file or directory)",
        ),
        (lambda folder: folder.read_text(), "{} is a folder, expected a file (Is a directory)"),
        (lambda folder: (folder / "a").mkdir(), "{}/a is a file, expected a folder (File exists)"),
        (
            lambda folder: (folder / "a" / "b").mkdir(),
            "{}/a/b lies below a file, expected a folder (Not a directory)",
        ),
    ],
)
def test_an_error_of_the_file_system_says_what_was_expected(tmp_path, action, line):
    (tmp_path / "a").write_text("")
    assert line_of(raised(lambda: action(tmp_path))) == line.format(tmp_path)


def test_a_full_disk_is_told_where_nobody_knows_the_file():
    line = line_of(OSError(errno.ENOSPC, "No space left on device"))
    assert line.startswith("the disk is full (No space left on device): free some")


def test_an_error_of_a_worker_is_told_without_its_traceback():
    error = raised(lambda: list(DataLoader(Broken(), num_workers=1)))
    assert "Traceback" in str(error)
    assert line_of(error) == "a.jpg: line one\nline two: end"


def test_a_lack_of_memory_has_a_remedy():
    line = line_of(torch.OutOfMemoryError("CUDA out of memory"))
    assert line == ("out of memory: CUDA out of memory; take fewer or smaller pictures at a time")


@pytest.mark.parametrize(
    ("error", "environment", "has_traceback"),
    [(ValueError("bad"), "", False), (ZeroDivisionError(), "", True), (ValueError(), "1", True)],
)
def test_the_log_of_a_training_has_a_traceback_of_our_errors_only(
    monkeypatch, error, environment, has_traceback
):
    monkeypatch.setenv("MASK2FORMER_MT_TRACEBACK", environment)
    try:
        raise error
    except type(error):
        record = logging.LogRecord("a", logging.ERROR, "", 1, "Exception", (), sys.exc_info())
    assert without_traceback(record)
    assert bool(record.exc_info) == has_traceback
    if not has_traceback:
        assert record.getMessage() == "the training ended early: bad"
