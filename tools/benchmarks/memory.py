"""Peak memory of inference, each model in a process of its own."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform

import torch

from benchmarks import models
from benchmarks.pairs import Settings


def run(settings: Settings) -> list[dict]:
    """Measures the peak of what inference needs besides the model and its input."""
    rows = []
    peer = settings.peer("hf")
    side = settings.original
    original = f" of a picture of {side}x{side}, masks encoded" if side else ""
    for queries in settings.queries:
        for size in settings.sizes:
            ours = _measure("ours", size, queries, settings)
            theirs = _measure("hf", size, queries, settings) if peer else None
            rows.append(
                {
                    "benchmark": "memory",
                    "case": f"R50 inference, {size}x{size}{original}, {queries} queries, "
                    f"keep {settings.keep}, {settings.dtype}",
                    "peer": "hf" if peer else None,
                    "ours_s": None,
                    "peer_s": None,
                    "ours_bytes": ours,
                    "peer_bytes": theirs,
                    "ratio": theirs / ours if peer else None,
                }
            )
    return rows


def _measure(side: str, size: int, queries: int, settings: Settings) -> int:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    dtype = settings.our_dtype if side == "ours" else settings.their_dtype
    sizes = (size, settings.original or size)
    arguments = (sender, side, sizes, queries, settings.keep, settings.device, dtype)
    process = context.Process(target=_child, args=arguments)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise SystemExit(f"error: {side} at {size}x{size} did not come to its end") from None
    finally:
        process.join()


def _child(
    sender,
    side: str,
    sizes: tuple[int, int],
    queries: int,
    keep: int,
    device: str,
    dtype: torch.dtype,
) -> None:
    size, original = sizes
    if side == "ours":
        model = models.our_model(device=device, queries=queries, keep=keep).eval()
        if original != size:
            model.encode_masks()  # as predicting and evaluating do
        make = models.infer_ours
    else:
        model = models.their_model(device=device, queries=queries).eval()
        make = models.infer_theirs
    # A small image first, so that what the libraries allocate once is not counted.
    make(model, models.random_batch(64, 1, 1, device), device, dtype)()
    batch = models.random_batch(size, 1, 1, device)
    batch[0].update(height=original, width=original)
    run = make(model, batch, device, dtype)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        sender.send(torch.cuda.max_memory_allocated() - before)
        return
    if platform.system() != "Linux":
        raise SystemExit("error: peak memory on a CPU is read from /proc, which only Linux has")
    # Free memory that malloc still holds would hide as much of what is needed now.
    ctypes.CDLL(None).malloc_trim(0)
    reset_peak()
    before = resident("VmRSS")
    run()
    sender.send(resident("VmHWM") - before)


def reset_peak() -> None:
    """Resets VmHWM to what is resident now; Linux only."""
    # 5 resets the peak, see proc(5).
    with open(f"/proc/{os.getpid()}/clear_refs", "w") as file:
        file.write("5")


def resident(name: str) -> int:
    """This process's resident bytes, now (`VmRSS`) or at the peak (`VmHWM`); Linux only."""
    with open(f"/proc/{os.getpid()}/status") as file:
        for line in file:
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {name} in /proc/self/status")
