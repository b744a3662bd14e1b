"""Finding inputs, reading ahead, and videos: whole, cut short and not at all."""

import itertools
import threading
import time

import numpy as np
import pytest
from PIL import Image

from mask2former_mt.predict.media import (
    PixelBudget,
    VideoReader,
    VideoWriter,
    count_left_out,
    find_inputs,
    left_out_text,
    missing_frames,
    read_ahead,
)


class TestFindInputs:
    def test_files_folders_and_globs_each_once(self, pictures):
        a, b = pictures / "a.JPG", pictures / "b.png"
        assert find_inputs([pictures]) == [a, b]
        assert find_inputs([b, pictures, pictures / "*.png"]) == [b, a]
        assert find_inputs([str(pictures / "*")]) == [a, b]

    def test_file_with_a_globs_letters_in_its_name(self, pictures):
        odd = (pictures / "b.png").rename(pictures / "b[1].png")
        assert find_inputs([odd]) == [odd]

    def test_formats_that_the_decoder_knows_are_taken_and_the_others_are_counted(self, tmp_path):
        image = Image.new("RGB", (8, 6))
        names = ("a.avif", "b.gif", "c.jfif", "d.jp2", "e.TIF")
        for name in names:
            image.save(tmp_path / name)
        for name in ("f.heic", "g.HEIC", "h.txt"):
            (tmp_path / name).write_bytes(b"")
        assert [file.name for file in find_inputs([tmp_path])] == list(names)
        left_out = count_left_out([tmp_path, tmp_path / "*", tmp_path / "a.avif"])
        assert left_out_text(left_out) == (
            "2 files left out: .heic, a format that the installed Pillow does not read; "
            "1 file left out: not named like a picture or a video"
        )

    def test_a_folder_of_other_files_says_what_is_there(self, tmp_path):
        (tmp_path / "f.heic").write_bytes(b"")
        with pytest.raises(FileNotFoundError, match=r"no pictures .* \(1 file left out: \.heic"):
            find_inputs([tmp_path])
        with pytest.raises(ValueError, match=r"format \.heic is not read .*convert it to PNG"):
            find_inputs([tmp_path / "f.heic"])


class TestPixelBudget:
    def test_small_pictures_are_under_way_together_and_a_large_one_alone(self):
        budget, passed = PixelBudget(10), []

        def take(pixels):
            budget.take(pixels)
            passed.append(pixels)

        def taken(thread):
            thread.start()
            thread.join(0.05)
            return not thread.is_alive()

        take(4), take(6)  # 10 in all
        one_more, large = (threading.Thread(target=take, args=(pixels,)) for pixels in (1, 25))
        assert not taken(one_more)
        budget.give(4)
        one_more.join(5)
        assert passed == [4, 6, 1]
        assert not taken(large)
        budget.give(6)
        budget.give(1)
        large.join(5)
        assert passed[-1] == 25

    def test_who_waits_is_let_pass_when_nothing_more_is_wanted(self):
        budget = PixelBudget(1)
        budget.take(5)
        waiting = threading.Thread(target=budget.take, args=(5,))
        waiting.start()
        budget.lift()
        waiting.join(5)
        assert not waiting.is_alive()


class TestReadAhead:
    def test_same_items_in_the_same_order_and_errors_in_their_place(self):
        def items():
            yield from range(50)
            raise OSError("gone")

        ahead = read_ahead(items(), 4)
        assert list(itertools.islice(ahead, 50)) == list(range(50))
        with pytest.raises(OSError, match="gone"):
            next(ahead)
        assert list(read_ahead(iter([]), 3)) == []

    def test_a_thread_reads_as_many_items_as_asked_until_no_more_are_wanted(self):
        made, before = [], threading.active_count()

        def items():
            for i in range(10):
                made.append((i, threading.current_thread()))
                yield i

        ahead = read_ahead(items(), 2)
        assert next(ahead) == 0
        deadline = time.monotonic() + 5
        while len(made) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert [i for i, _ in made] == [0, 1, 2]
        assert threading.current_thread() not in {thread for _, thread in made}
        ahead.close()
        assert threading.active_count() == before


class TestVideos:
    def test_frames_are_rgb_and_in_order(self, tmp_path):
        writer = VideoWriter(tmp_path / "v.mp4", 12)
        for i in range(6):
            frame = np.zeros((40, 60, 3), dtype=np.uint8)
            frame[..., 0] = 40 * i  # red
            writer.write(frame)
        assert not (tmp_path / "v.mp4").exists()
        writer.finish()
        assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]
        video = VideoReader(tmp_path / "v.mp4")
        assert video.frames_per_second == 12
        assert video.num_frames == 6
        frames = list(video)
        assert [f.shape for f in frames] == [(40, 60, 3)] * 6
        for i, frame in enumerate(frames):
            np.testing.assert_allclose(frame.mean(axis=(0, 1)), (40 * i, 12, 12), atol=13)

    def test_odd_sizes_are_filled_up_not_cut(self, tmp_path):
        writer = VideoWriter(tmp_path / "v.mp4", 10)
        frame = np.zeros((41, 61, 3), dtype=np.uint8)
        frame[-1], frame[:, -1] = 255, 255
        writer.write(frame)
        # Another size than the first frame's is brought to it.
        writer.write(np.full((80, 100, 3), 200, dtype=np.uint8))
        writer.finish()
        first, second = VideoReader(tmp_path / "v.mp4")
        assert first.shape == second.shape == (42, 62, 3)
        assert first[-1].mean() > 180
        assert abs(second.mean() - 200) < 10

    def test_abandoned_video_leaves_nothing(self, tmp_path):
        writer = VideoWriter(tmp_path / "v.mp4", 10)
        writer.write(np.zeros((40, 60, 3), dtype=np.uint8))
        writer.abandon()
        VideoWriter(tmp_path / "w.mp4", 10).abandon()
        assert list(tmp_path.iterdir()) == []

    def test_file_that_cannot_be_written_or_read_is_named(self, tmp_path):
        writer = VideoWriter(tmp_path / "no" / "v.mp4", 10)
        with pytest.raises(ValueError, match=r"v\.mp4 cannot be written"):
            writer.write(np.zeros((40, 60, 3), dtype=np.uint8))
        (tmp_path / "v.mp4").write_text("not a video")
        for name in ("v.mp4", "missing.mp4"):
            with pytest.raises(ValueError, match=f"{name} cannot be read"):
                VideoReader(tmp_path / name)

    @pytest.mark.parametrize(
        # Two frames and a fiftieth of all may be missing: 100 - 2 - 2 = 96.
        ("read", "told", "says"),
        [(100, 100, False), (96, 100, False), (95, 100, True), (9, 0, False), (0, 3, True)],
    )
    def test_missing_frames(self, read, told, says):
        assert bool(missing_frames(read, told)) == says
