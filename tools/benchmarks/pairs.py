"""Alternating measurements, and the rows that come of them."""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping

import torch

from mask2former_mt.engine.memory import keep_large_blocks, usual_blocks

# What a peer is imported as, and how it is installed.
MODULES = {
    "hf": "transformers",
    "torch-ms-deform-attn": "torch_ms_deform_attn",
    # detectron2 cuts polygons with it.
    "detectron2": "shapely",
    "hotcoco": "hotcoco",
    "faster-coco-eval": "faster_coco_eval",
}
INSTALL = 'pip install --no-build-isolation -e ".[bench]"'


class Settings(argparse.Namespace):
    """The command line's choices, named as the options of tools/benchmark.py are."""

    def peer(self, name: str) -> bool:
        """Whether a peer is asked for; says so if it is, and is not installed."""
        if name not in self.peers:
            return False
        module = MODULES.get(name)
        if module and importlib.util.find_spec(module) is None:
            print(f"peer {name} is left out, it is not installed: {INSTALL}")
            return False
        return True

    @property
    def our_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    @property
    def their_dtype(self) -> torch.dtype:
        return getattr(torch, self.peer_dtype or self.dtype)


def profile(run: Callable[[], object], device: str) -> None:
    """Prints the operators of one run by their own time."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    on_gpu = device.startswith("cuda")
    if on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    run()
    with torch.profiler.profile(activities=activities, record_shapes=True) as measured:
        run()
        if on_gpu:
            torch.cuda.synchronize()
    key = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    print(measured.key_averages().table(sort_by=key, row_limit=30, max_name_column_width=60))


def alternate(
    benchmark: str,
    case: str,
    ours: Callable[[], object],
    peers: Mapping[str, Callable[[], object]],
    settings: Settings,
) -> list[dict]:
    """Runs ours and each peer in turn, `warmup` rounds for nothing and `rounds` that count.

    With `settings.allocator` "own", on a CPU, each side has the allocator that its user has: ours
    keeps large blocks, a peer's gives them back to the system. Each timed run then follows one
    that is not, because the memory changes hands.

    Returns:
        A row per peer: medians in seconds, and the median of the pairs' ratios. Without peers one
        row of ours alone. On a GPU also the peak of what a run allocates beside what is there.
    """
    runs = {"ours": ours, **peers}
    seconds = {name: [] for name in runs}
    peaks = dict.fromkeys(runs, 0)
    on_gpu = settings.device.startswith("cuda")
    own = settings.allocator == "own" and not on_gpu
    for index in range(settings.warmup + settings.rounds):
        for name, run in runs.items():
            if own:
                (keep_large_blocks if name == "ours" else usual_blocks)()
                run()
            if on_gpu:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            start = time.perf_counter()
            run()
            if on_gpu:
                torch.cuda.synchronize()
                peaks[name] = max(peaks[name], torch.cuda.max_memory_allocated() - before)
            if index >= settings.warmup:
                seconds[name].append(time.perf_counter() - start)
    rows = []
    for name in peers or [None]:
        row = {
            "benchmark": benchmark,
            "case": case,
            "peer": name,
            "ours_s": statistics.median(seconds["ours"]),
            "peer_s": None,
            "ratio": None,
        }
        if name is not None:
            pairs = zip(seconds[name], seconds["ours"], strict=True)
            row["peer_s"] = statistics.median(seconds[name])
            row["ratio"] = statistics.median(theirs / mine for theirs, mine in pairs)
        if on_gpu:
            row["ours_bytes"] = peaks["ours"]
            row["peer_bytes"] = peaks[name] if name is not None else None
        rows.append(row)
    return rows


def print_rows(rows: list[dict]) -> None:
    """A table of the rows; times in milliseconds, memory in MiB."""
    if not rows:
        print("nothing was measured")
        return
    table = [["case", "peer", "ours", "peer's", "ratio"]]
    for row in rows:
        sides = [_shown(row, side) for side in ("ours", "peer")]
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
        table.append([row["case"], row["peer"] or "-", *sides, ratio])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def _shown(row: Mapping, side: str) -> str:
    seconds, size = row.get(f"{side}_s"), row.get(f"{side}_bytes")
    parts = []
    if seconds is not None:
        parts.append(f"{1e3 * seconds:.2f} ms")
    if size is not None:
        parts.append(f"{size / 2**20:.0f} MiB")
    return ", ".join(parts) or "-"
