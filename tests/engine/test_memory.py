"""Keeping large blocks: counted in page faults, as the system clears every page it gives."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import torch
from mask2former_mt.engine.memory import keep_large_blocks, usual_blocks

def faults(mib=48):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.empty(mib * 2**20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def settled():
    # A kept block is taken again once one has room for the alignment, which may take some rounds.
    return min(faults() for _ in range(12))

without = settled()
assert keep_large_blocks()
kept = settled()
usual_blocks()
# Larger than any hole between the blocks in use, which would be taken for it.
faults(256)
print(without, kept, faults(256))
"""


def test_large_blocks_are_kept_or_given_back():
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the C library is not glibc")
    if tuple(map(int, platform.libc_ver()[1].split("."))) < (2, 35):
        pytest.skip("this glibc maps blocks of more than 32 MiB")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    without, kept, again = map(int, done.stdout.split())
    # 48 MiB are 12288 pages of 4 KiB, or 24 of 2 MiB, in each of 4 rounds. Kept blocks need none,
    # except for a few pages of something else.
    assert without >= 4 * 24
    assert kept < without / 4
    # And given back again when that is asked for.
    assert again >= 4 * 128
