"""What a large picture takes beside the model: at most 12 bytes for each of its pixels."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

TESTS = Path(__file__).parents[1]
BYTES_A_PIXEL = 12
SIZES = {"small": (512, 384), "large": (3264, 2448)}  # width and height; the network sees the same
PROGRAM = """
import sys
from pathlib import Path

tests, folder, trained = map(Path, sys.argv[1:])
sys.path[:0] = [str(tests), str(tests.parent / "tools")]
from benchmarks.memory import reset_peak, resident
from mask2former_mt.engine.memory import give_back_free_memory, keep_large_blocks
from mask2former_mt.engine.setup import load_config
from mask2former_mt.predict.job import predict_files
from mask2former_mt.predict.overlays import OverlayOptions
from mask2former_mt.predict.predictor import build_predictor

keep_large_blocks(one_for_all=True)
cfg = load_config(str(trained / "config.yaml"), ["INPUT.MIN_SIZE_TEST", "384"])
predictor = build_predictor(cfg, trained / "model_final.pth")
for name in ("small", "small", "large"):
    give_back_free_memory()
    reset_peak()
    files = sorted(folder.glob(f"{name}*"))
    options = {"overlays": OverlayOptions(), "score_threshold": 0.0, "overwrite": True}
    written = predict_files(predictor, files, folder / "out", **options)
    print(written.num_instances, resident("VmHWM"))
"""


@pytest.mark.skipif(platform.system() != "Linux", reason="peak memory is read from /proc")
def test_large_pictures_take_a_bounded_number_of_bytes_a_pixel(trained, tmp_path):
    for name, size in SIZES.items():
        for i in range(2):
            Image.linear_gradient("L").resize(size).convert("RGB").save(tmp_path / f"{name}{i}.jpg")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, TESTS, tmp_path, trained],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The first run loads what is loaded once.
    _, (_, small), (instances, large) = (map(int, x.split()) for x in done.stdout.splitlines())
    assert instances == 2 * 4
    width, height = SIZES["large"]
    assert large - small <= BYTES_A_PIXEL * width * height
