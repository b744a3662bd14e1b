"""What a user is told of an error: one line, and no traceback where the input is at fault."""

from __future__ import annotations

import errno
import logging
import os
import re

import torch

from mask2former_mt.data.bad_samples import TooManyBadSamplesError

# The package raises these, with messages that name what is wrong. The last three name it
# themselves: files, memory, a lack of either.
USER_ERRORS = (
    *(ValueError, KeyError, AssertionError, TooManyBadSamplesError),
    *(OSError, MemoryError, torch.OutOfMemoryError),
)
_OF_FILES = {
    errno.ENOENT: "does not exist",
    errno.EEXIST: "is a file, expected a folder",
    errno.ENOTDIR: "lies below a file, expected a folder",
    errno.EISDIR: "is a folder, expected a file",
    errno.EACCES: "may not be read or written by this user; change its permissions or name another",
    errno.EROFS: "is on a file system that cannot be written to; name another place",
    errno.ENOSPC: "does not fit on its disk, which is full",
    errno.ENAMETOOLONG: "is too long a name",
}
# "Caught ValueError in DataLoader worker process 0.", its traceback, and its message.
_OF_A_WORKER = re.compile(r"Caught \w+ in DataLoader worker.*\n[\w.]+: (.*)", re.DOTALL)


def shows_tracebacks() -> bool:
    """Whether MASK2FORMER_MT_TRACEBACK=1 asks for tracebacks."""
    return os.environ.get("MASK2FORMER_MT_TRACEBACK") == "1"


def line_of(error: BaseException) -> str:
    """The message of an error of `USER_ERRORS`, without class and traceback."""
    if isinstance(error, OSError) and error.errno in _OF_FILES and error.filename is not None:
        return f"{error.filename} {_OF_FILES[error.errno]} ({error.strerror})"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.strerror}): free some of it, or name another place"
    # str() of a KeyError is the repr of its message.
    of_key = isinstance(error, KeyError) and error.args
    message = str(error.args[0] if of_key else error)
    if in_worker := _OF_A_WORKER.match(message):
        message = in_worker[1]
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        message = f"out of memory: {message}; take fewer or smaller pictures at a time"
    return message.strip() or repr(error)


def without_traceback(record: logging.LogRecord) -> bool:
    """A filter of detectron2's training loop, which logs each error with its traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, USER_ERRORS) and not shows_tracebacks():
        record.msg, record.args = "the training ended early: %s", (line_of(error),)
        record.exc_info = None
    return True
