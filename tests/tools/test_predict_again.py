"""tools/predict.py a second time: after it ended, was killed, or with something changed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from predict_tools import cut_file, write_video
from programs import TOOLS

from mask2former_mt.predict.predictor import Predictor
from mask2former_mt.predict.videos import VideoReader


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Height and width of each picture that the model is given during a test."""
    sizes = []
    predict = Predictor.predict

    def record(self, batch):
        sizes.extend((x["height"], x["width"]) for x in batch)
        return predict(self, batch)

    monkeypatch.setattr(Predictor, "predict", record)
    return sizes


@pytest.fixture
def one_thread():
    """The numbers of a process with OMP_NUM_THREADS=1, to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with 20 pictures of two sizes, and a video among them."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 80, 60, 3), dtype=np.uint8)
    for i, picture in enumerate(noise):
        # Every fourth is higher: half a batch would be padded less than the whole.
        Image.fromarray(picture[: 50 if i % 4 else 80]).save(folder / f"{i:02}.png")
    write_video(folder / "05_clip.avi", 12)
    return folder


class TestSecondRun:
    def test_what_is_done_is_not_done_again(self, predict, pictures, tmp_path, predicted, capsys):
        before = predict([pictures], "--score-threshold", 0)
        stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.png")}
        assert len(predicted) == 2
        # How many at a time, and where a training would write, does not matter.
        options = ["--score-threshold", 0, "--batch", 2, "OUTPUT_DIR", "elsewhere"]
        assert predict([pictures], *options) == before
        assert len(predicted) == 2
        assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
        assert "2 pictures (2 of them before), 8 instances" in capsys.readouterr().out

    def test_only_new_and_changed_pictures_and_lost_overlays(
        self, predict, pictures, tmp_path, predicted
    ):
        predict([pictures])
        Image.new("RGB", (50, 40)).save(pictures / "b.png")
        Image.new("RGB", (33, 44)).save(pictures / "0.png")
        predicted.clear()
        results = predict([pictures])
        assert predicted == [(44, 33), (40, 50)]
        names = [Path(image["file_name"]).name for image in results["images"]]
        assert names == ["0.png", "a.JPG", "b.png"]
        (tmp_path / "out" / "a.png").unlink()
        predicted.clear()
        predict([pictures])
        assert predicted == [(90, 70)]
        assert (tmp_path / "out" / "a.png").is_file()

    def test_other_inputs_leave_the_first_ones_overlays(self, predict, pictures, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        Image.new("RGB", (64, 64)).save(other / "b.png")
        out = tmp_path / "out"
        predict([pictures])
        before = (out / "b.png").read_bytes()
        results = predict([other])
        assert (out / "b.png").read_bytes() == before
        assert (out / "b_2.png").is_file()
        assert [image["width"] for image in results["images"]] == [64]

    @pytest.mark.parametrize(
        "change",
        [["--score-threshold", "0.25"], ["INPUT.MIN_SIZE_TEST", "96"], ["--min-area", "3"]],
    )
    def test_other_settings_are_refused_or_redone(self, predict, pictures, predicted, change):
        predict([pictures])
        predicted.clear()
        with pytest.raises(SystemExit, match=r"holds predictions made otherwise.*--overwrite"):
            predict([pictures], *change)
        assert predicted == []
        predict([pictures], *change, "--overwrite")
        assert len(predicted) == 2


class TestVideos:
    def test_frames_are_numbered_and_the_overlay_is_a_video(self, predict, tmp_path, capsys):
        write_video(tmp_path / "v.avi", 7, size=(60, 90))
        sheet = tmp_path / "out" / "sheet.png"  # may lie beside the overlays
        options = ["--batch", 3, "--contact-sheet", sheet, "--score-threshold", 0]
        images = predict([tmp_path / "v.avi"], *options)["images"]
        assert [(image["frame"], image["id"]) for image in images] == [(i, i + 1) for i in range(7)]
        assert {(image["height"], image["width"]) for image in images} == {(60, 90)}
        overlay = VideoReader(tmp_path / "out" / "v.mp4")
        assert overlay.frames_per_second == 10
        # 60 x 90 enlarged to 512 x 768
        assert [frame.shape for frame in overlay] == [(512, 768, 3)] * 7
        # One cell, of the first frame: at most 720 wide.
        assert Image.open(sheet).size[0] == 720 + 16
        assert "7 pictures, 28 instances" in capsys.readouterr().out

    def test_cut_video_keeps_what_was_read_and_says_so_each_time(
        self, refuse, pictures, tmp_path, predicted
    ):
        write_video(pictures / "a.avi", 40)
        cut_file(pictures / "a.avi", 0.5)
        for _ in range(2):
            message = refuse(1, [pictures])
            assert "1 of 3 inputs" in message
            assert "a.avi ended after" in message
        images = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
        frames = [image["frame"] for image in images if "frame" in image]
        assert 2 < len(frames) < 38
        assert f"ended after {len(frames)} of about 40 frames" in message
        assert len(images) == 2 + len(frames)
        # The second time nothing was predicted.
        assert len(predicted) == len(images)
        assert len(list(VideoReader(tmp_path / "out" / "a_2.mp4"))) == len(frames)
        assert (tmp_path / "out" / "a.png").is_file()

    def test_file_named_like_a_video(self, refuse, pictures, tmp_path):
        (pictures / "v.mp4").write_text("not a video")
        # Named itself, it is refused before anything is done.
        assert "v.mp4 cannot be read" in refuse(2, [pictures / "v.mp4"])
        assert not (tmp_path / "out").exists()
        assert "v.mp4 cannot be read" in refuse(1, [pictures])
        results = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert len(results["images"]) == 2

    def test_lost_overlay_is_drawn_from_the_lines(self, predict, tmp_path, predicted):
        write_video(tmp_path / "v.avi", 5)
        options = ["--score-threshold", 0, "--max-side", 200]
        predict([tmp_path / "v.avi"], *options)
        before = list(VideoReader(tmp_path / "out" / "v.mp4"))
        (tmp_path / "out" / "v.mp4").unlink()
        lines = (tmp_path / "out" / "predictions.jsonl").read_bytes()
        predicted.clear()
        predict([tmp_path / "v.avi"], *options)
        assert predicted == []
        assert (tmp_path / "out" / "predictions.jsonl").read_bytes() == lines
        np.testing.assert_array_equal(before, list(VideoReader(tmp_path / "out" / "v.mp4")))


def kill_at(lines: Path, count: int, command: list[str]) -> bytes:
    """Starts the program, kills it when so many lines are written, and returns the lines."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(TOOLS / "predict.py"), *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < deadline:
        if lines.exists() and lines.read_bytes().count(b"\n") >= count:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    return lines.read_bytes()


def test_killed_run_goes_on_to_the_same_result(program, command, mixed, tmp_path, one_thread):
    """kill -9 among pictures, then within the video; batches of pictures of two sizes."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = ["--score-threshold", 0, "--batch", 4, "--max-side", 200]
    program.main(command([mixed], *options, out="whole"))
    total = (whole / "predictions.jsonl").read_bytes().count(b"\n")
    assert total == 20 + 12
    lines, arguments = killed / "predictions.jsonl", command([mixed], *options, out="killed")
    # The video comes after five pictures, the batches of which are 4 and 1.
    for count in (2, 9):
        done = kill_at(lines, count, arguments)
        assert count <= done.count(b"\n") < total
        assert not (killed / "predictions.json").exists()
        # As if the kill had come within a line.
        lines.write_bytes(done + b'{"file_name": "x", "hei')
    program.main(arguments)
    assert (killed / "predictions.json").read_bytes() == (whole / "predictions.json").read_bytes()
    assert lines.read_bytes().startswith(done)
    overlays = [
        {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".png", ".mp4")}
        for folder in (whole, killed)
    ]
    assert overlays[0] == overlays[1]
    assert len(overlays[0]) == 21
