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
from predict_tools import PROGRAM, arguments, cut_file, save_model, write_video

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


def results_of(output: Path) -> dict:
    return json.loads((output / "predictions.json").read_text(encoding="utf-8"))


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
    def test_what_is_done_is_not_done_again(
        self, program, trained, pictures, tmp_path, predicted, capsys
    ):
        command = arguments(trained, [pictures], tmp_path / "out", "--score-threshold", "0")
        program.main(command)
        before = (tmp_path / "out" / "predictions.json").read_bytes()
        stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.png")}
        assert len(predicted) == 2
        program.main(command)
        assert len(predicted) == 2
        assert (tmp_path / "out" / "predictions.json").read_bytes() == before
        assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
        assert "2 pictures (2 of them before), 8 instances" in capsys.readouterr().out

    def test_only_new_and_changed_pictures(self, program, trained, pictures, tmp_path, predicted):
        command = arguments(trained, [pictures], tmp_path / "out")
        program.main(command)
        Image.new("RGB", (50, 40)).save(pictures / "b.png")
        Image.new("RGB", (33, 44)).save(pictures / "0.png")
        predicted.clear()
        program.main(command)
        assert predicted == [(44, 33), (40, 50)]
        names = [Path(image["file_name"]).name for image in results_of(tmp_path / "out")["images"]]
        assert names == ["0.png", "a.JPG", "b.png"]

    def test_lost_overlay_is_made_again(self, program, trained, pictures, tmp_path, predicted):
        command = arguments(trained, [pictures], tmp_path / "out")
        program.main(command)
        (tmp_path / "out" / "a.png").unlink()
        predicted.clear()
        program.main(command)
        assert predicted == [(90, 70)]
        assert (tmp_path / "out" / "a.png").is_file()

    def test_other_inputs_leave_the_first_ones_overlays(self, program, trained, pictures, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        Image.new("RGB", (64, 64)).save(other / "b.png")
        out = tmp_path / "out"
        program.main(arguments(trained, [pictures], out))
        before = (out / "b.png").read_bytes()
        program.main(arguments(trained, [other], out))
        assert (out / "b.png").read_bytes() == before
        assert (out / "b_2.png").is_file()
        assert [image["width"] for image in results_of(out)["images"]] == [64]

    @pytest.mark.parametrize(
        "change",
        [["--score-threshold", "0.25"], ["INPUT.MIN_SIZE_TEST", "96"], ["--min-area", "3"]],
    )
    def test_other_settings_are_refused_or_redone(
        self, program, trained, pictures, tmp_path, predicted, change
    ):
        command = arguments(trained, [pictures], tmp_path / "out")
        program.main(command)
        predicted.clear()
        with pytest.raises(SystemExit, match=r"holds predictions made otherwise.*--overwrite"):
            program.main([*command, *change])
        assert predicted == []
        program.main([*command, *change, "--overwrite"])
        assert len(predicted) == 2

    def test_other_weights_are_refused(self, program, trained, pictures, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        save_model(other, seed=1)
        program.main(arguments(trained, [pictures], tmp_path / "out"))
        with pytest.raises(SystemExit, match=r"weights was .* and is now"):
            program.main(arguments(other, [pictures], tmp_path / "out"))

    def test_device_and_batch_may_change(self, program, trained, pictures, tmp_path, predicted):
        command = arguments(trained, [pictures], tmp_path / "out")
        program.main(command)
        predicted.clear()
        program.main([*command, "--batch", "2"])
        program.main([*command, "OUTPUT_DIR", "elsewhere"])
        assert predicted == []


class TestVideos:
    def test_frames_are_numbered_and_the_overlay_is_a_video(
        self, program, trained, tmp_path, capsys
    ):
        write_video(tmp_path / "v.avi", 7, size=(60, 90))
        sheet = tmp_path / "sheet.png"
        more = ["--batch", "3", "--contact-sheet", str(sheet), "--score-threshold", "0"]
        program.main(arguments(trained, [tmp_path / "v.avi"], tmp_path / "out", *more))
        images = results_of(tmp_path / "out")["images"]
        assert [image["frame"] for image in images] == list(range(7))
        assert [image["id"] for image in images] == list(range(1, 8))
        assert {(image["height"], image["width"]) for image in images} == {(60, 90)}
        overlay = VideoReader(tmp_path / "out" / "v.mp4")
        assert overlay.frames_per_second == 10
        # 60 x 90 enlarged to 512 x 768
        assert [frame.shape for frame in overlay] == [(512, 768, 3)] * 7
        # One cell, of the first frame: at most 720 wide.
        assert Image.open(sheet).size[0] == 720 + 16
        assert "7 pictures, 28 instances" in capsys.readouterr().out

    def test_cut_video_keeps_what_was_read_and_says_so_each_time(
        self, program, trained, pictures, tmp_path, predicted
    ):
        write_video(pictures / "a.avi", 40)
        cut_file(pictures / "a.avi", 0.5)
        command = arguments(trained, [pictures], tmp_path / "out")
        for _ in range(2):
            with pytest.raises(SystemExit, match=r"1 of 3 inputs[\s\S]*a\.avi ended after"):
                program.main(command)
        images = results_of(tmp_path / "out")["images"]
        frames = [image["frame"] for image in images if "frame" in image]
        assert 2 < len(frames) < 38
        assert len(images) == 2 + len(frames)
        # The second time nothing was predicted.
        assert len(predicted) == len(images)
        assert len(list(VideoReader(tmp_path / "out" / "a_2.mp4"))) == len(frames)
        assert (tmp_path / "out" / "a.png").is_file()

    def test_video_that_is_none(self, program, trained, pictures, tmp_path, capsys):
        (pictures / "v.mp4").write_text("not a video")
        with pytest.raises(SystemExit, match=r"v\.mp4 cannot be read"):
            program.main(arguments(trained, [pictures], tmp_path / "out"))
        assert len(results_of(tmp_path / "out")["images"]) == 2
        # Named itself, it is refused before anything is done.
        with pytest.raises(SystemExit) as caught:
            program.main(arguments(trained, [pictures / "v.mp4"], tmp_path / "other"))
        assert caught.value.code == 2
        assert not (tmp_path / "other").exists()

    def test_lost_overlay_is_drawn_from_the_lines(self, program, trained, tmp_path, predicted):
        write_video(tmp_path / "v.avi", 5)
        more = ["--score-threshold", "0", "--max-side", "200"]
        command = arguments(trained, [tmp_path / "v.avi"], tmp_path / "out", *more)
        program.main(command)
        before = list(VideoReader(tmp_path / "out" / "v.mp4"))
        (tmp_path / "out" / "v.mp4").unlink()
        lines = (tmp_path / "out" / "predictions.jsonl").read_bytes()
        predicted.clear()
        program.main(command)
        assert predicted == []
        assert (tmp_path / "out" / "predictions.jsonl").read_bytes() == lines
        np.testing.assert_array_equal(before, list(VideoReader(tmp_path / "out" / "v.mp4")))

    def test_two_videos_of_one_name(self, program, trained, tmp_path):
        for folder, count in (("one", 3), ("two", 5)):
            (tmp_path / folder).mkdir()
            write_video(tmp_path / folder / "v.avi", count)
        inputs = [tmp_path / "one", tmp_path / "two"]
        program.main(arguments(trained, inputs, tmp_path / "out"))
        counts = [len(list(VideoReader(tmp_path / "out" / n))) for n in ("v.mp4", "v_2.mp4")]
        assert counts == [3, 5]

    def test_video_has_no_ground_truth(self, program, trained, tmp_path):
        write_video(tmp_path / "v.avi", 3)
        with pytest.raises(SystemExit, match="'nothing' is not registered"):
            program.main(
                arguments(
                    trained, [tmp_path / "v.avi"], tmp_path / "out", "--ground-truth", "nothing"
                )
            )


def kill_at(lines: Path, count: int, command: list[str]) -> bytes:
    """Starts the program, kills it when so many lines are written, and returns the lines."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(PROGRAM), *command],
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


def test_killed_run_goes_on_to_the_same_result(program, trained, mixed, tmp_path, one_thread):
    """kill -9 among pictures, then within the video; batches of pictures of two sizes."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = ["--score-threshold", "0", "--batch", "4", "--max-side", "200"]
    program.main(arguments(trained, [mixed], whole, *more))
    total = (whole / "predictions.jsonl").read_bytes().count(b"\n")
    assert total == 20 + 12
    lines, command = killed / "predictions.jsonl", arguments(trained, [mixed], killed, *more)
    # The video comes after five pictures, the batches of which are 4 and 1.
    for count in (2, 9):
        done = kill_at(lines, count, command)
        assert count <= done.count(b"\n") < total
        assert not (killed / "predictions.json").exists()
        # As if the kill had come within a line.
        lines.write_bytes(done + b'{"file_name": "x", "hei')
    program.main(command)
    assert (killed / "predictions.json").read_bytes() == (whole / "predictions.json").read_bytes()
    assert lines.read_bytes().startswith(done)
    names = [
        sorted(p.name for p in folder.iterdir() if not p.name.endswith(".part"))
        for folder in (whole, killed)
    ]
    assert names[0] == names[1]
    for name in names[0]:
        if name.endswith((".png", ".mp4")):
            assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
