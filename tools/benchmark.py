#!/usr/bin/env python
"""Times this package and its peers alternately, in one process, and prints the ratios.

    python tools/benchmark.py op --sizes 512 1024
    python tools/benchmark.py infer --sizes 512 --json infer.json
    python tools/benchmark.py train --sizes 512 --batch 2
    python tools/benchmark.py memory --sizes 2048 --keep 20
    python tools/benchmark.py growth --axes objects classes --rounds 1
    python tools/benchmark.py eval --images 5000 --rounds 1 --warmup 0 --allocator shared

A ratio is the median of the pairs' peer/ours: above 1, we are faster (or need less memory). Peers
are optional: pip install -e ".[bench]".
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import tempfile

import torch
from benchmarks import (
    data,
    evaluation,
    growth,
    loading,
    memory,
    models,
    object_growth,
    op,
    postprocess,
)
from benchmarks.pairs import Settings, print_rows

from mask2former_mt.engine.memory import keep_large_blocks
from mask2former_mt.engine.setup import errors_named

BENCHMARKS = {
    "op": op.run,
    "infer": models.infer,
    "train": models.train,
    "postprocess": postprocess.run,
    "panoptic": postprocess.run_panoptic,
    "data": lambda settings: [*data.run(settings), *loading.run(settings)],
    "memory": memory.run,
    "growth": lambda settings: [*growth.run(settings), *object_growth.run(settings)],
    "eval": evaluation.run,
}
PEERS = (
    "hf",
    "torch-ms-deform-attn",
    "reference",
    "detectron2",
    "pycocotools",
    "faster-coco-eval",
    "hotcoco",
    "direct",
    "nms",
)


def parse(arguments: list[str] | None = None) -> Settings:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[512], help="image sides, pixels")
    parser.add_argument("--batch", type=int, help="images (default: train 2, others 1)")
    parser.add_argument("--objects", type=int, default=8, help="per training image")
    parser.add_argument("--annotations", type=int, default=100_000, help="data: of the large JSON")
    parser.add_argument("--images", type=int, default=200, help="eval: images, 480x640")
    parser.add_argument("--queries", type=int, nargs="+", default=[100])
    parser.add_argument("--keep", type=int, default=100, help="instances per image")
    parser.add_argument(
        "--original",
        type=int,
        help="postprocess, panoptic, memory: side of the original (default: --sizes)",
    )
    parser.add_argument("--threads", type=int, help="of PyTorch (default: its own choice)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    dtypes = ["float32", "bfloat16", "float16"]
    parser.add_argument("--dtype", choices=dtypes, default="float32")
    parser.add_argument("--peer-dtype", choices=dtypes, help="(default: as --dtype)")
    parser.add_argument("--rounds", type=int, default=5, help="alternations that count")
    parser.add_argument("--warmup", type=int, default=1, help="alternations that do not")
    parser.add_argument(
        "--peers",
        type=lambda text: text.split(","),
        default=list(PEERS),
        help=f"comma-separated, of {', '.join(PEERS)}; those that do not apply are left out",
    )
    parser.add_argument(
        "--allocator",
        choices=["own", "shared"],
        default="own",
        help="CPU: each side has its own setting of malloc (as its users have), or ours serves all",
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile our model")
    parser.add_argument("--profile", action="store_true", help="our operators by time, then stop")
    parser.add_argument("--json", type=pathlib.Path, help="write the rows to this file")
    parser.add_argument("--plot", type=pathlib.Path, help="growth: write a picture (PNG)")
    axes = [*growth.AXES, *object_growth.AXES]
    parser.add_argument("--axes", nargs="+", choices=axes, default=axes, help="growth: with what")
    args = parser.parse_args(arguments, Settings())
    unknown = sorted(set(args.peers) - set(PEERS))
    if unknown:
        parser.error(f"no peer {unknown[0]!r}; known are {', '.join(PEERS)}")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", args.device):
        parser.error(f"--device must be cpu, cuda or cuda:N, got {args.device}")
    for file in filter(None, (args.json, args.plot)):
        if not file.parent.is_dir():
            parser.error(f"{file}: there is no folder {file.parent} to write to")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no GPU")
    counts = (args.rounds, args.objects, args.annotations, args.images, *args.queries, args.keep)
    if min(*args.sizes, *counts) < 1 or args.warmup < 0:
        parser.error("sizes, rounds, objects and other counts must be at least 1")
    return args


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    # As our tools do on a CPU.
    if args.device == "cpu":
        keep_large_blocks()
    if args.device.startswith("cuda"):
        torch.cuda.set_device(torch.device(args.device))
        device = torch.cuda.get_device_name(args.device)
    else:
        device = f"CPU ({torch.backends.cpu.get_cpu_capability()})"
    print(
        f"{args.benchmark} on {device}, {torch.get_num_threads()} threads, "
        f"PyTorch {torch.__version__}",
        flush=True,
    )
    rows = BENCHMARKS[args.benchmark](args)
    print_rows(rows)
    if args.json:
        # Whole or not at all.
        with tempfile.NamedTemporaryFile("w", dir=args.json.parent, delete=False) as file:
            json.dump(rows, file, indent=2)
        pathlib.Path(file.name).replace(args.json)
        print(f"wrote {args.json}")


if __name__ == "__main__":
    with errors_named():
        main()
