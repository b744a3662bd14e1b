"""Keeps the memory of large tensors instead of giving it back to the system after every step."""

from __future__ import annotations

import ctypes
import logging
import platform

LOGGER = logging.getLogger("mask2former_mt")

# mallopt's parameters, as glibc's malloc.h numbers them.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8

KEEP_BYTES = 2**31 - 1  # largest int, and so largest value of mallopt
OLD_MMAP_BYTES = 32 * 2**20  # largest mapping threshold of glibc before 2.35
GROW_BYTES = 64 * 2**20
USUAL_TOP_PAD = 128 * 2**10


def keep_large_blocks(*, one_for_all: bool = False) -> bool:
    """Has glibc's malloc reuse blocks of any size, as CUDA's caching allocator does.

    By default every tensor of 32 MiB and more is mapped anew from the system, which clears it page
    by page: on a CPU, a fifth of the time of a training step at 512x512. With this, the process
    keeps its peak memory until it ends. Call it before the first large tensor.

    Returns:
        Whether it took effect for all sizes, which needs glibc 2.35 or later, the usual C library
        on Linux.

    Source: mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        LOGGER.info("memory: no glibc, its allocator is left as it is")
        return False
    mallopt = ctypes.CDLL(None).mallopt
    if one_for_all:
        mallopt(M_ARENA_MAX, 1)
    mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
    mallopt(M_TOP_PAD, GROW_BYTES)
    if mallopt(M_MMAP_THRESHOLD, KEEP_BYTES) == 1:
        return True
    mallopt(M_MMAP_THRESHOLD, OLD_MMAP_BYTES)
    LOGGER.info("memory: this glibc keeps blocks of at most 32 MiB; larger ones are mapped anew")
    return False


def give_back_free_memory() -> None:
    """Gives the system what `keep_large_blocks` keeps and nothing uses at the moment.

    It is taken anew when it is needed, at a tenth of a second for each 300 MB.

    Source: malloc_trim(3).
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def usual_blocks() -> None:
    """Has glibc's malloc give large blocks back again, as it does by default.

    By default its thresholds follow the blocks that are freed; the ones set here are where they end
    with large tensors. Kept memory is given back with the next blocks that are freed, except for
    holes between blocks in use, which remain for blocks that fit them.

    Source: mallopt(3), "dynamic mmap threshold".
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, OLD_MMAP_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * OLD_MMAP_BYTES)
        libc.mallopt(M_TOP_PAD, USUAL_TOP_PAD)
        libc.malloc_trim(0)
