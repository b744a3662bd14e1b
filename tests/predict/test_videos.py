"""Videos: whole, cut short and not at all."""

import numpy as np
import pytest

from mask2former_mt.predict.videos import VideoReader, VideoWriter, missing_frames


def test_frames_are_rgb_and_in_order(tmp_path):
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


def test_odd_sizes_are_filled_up_not_cut(tmp_path):
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


def test_abandoned_video_leaves_nothing(tmp_path):
    writer = VideoWriter(tmp_path / "v.mp4", 10)
    writer.write(np.zeros((40, 60, 3), dtype=np.uint8))
    writer.abandon()
    VideoWriter(tmp_path / "w.mp4", 10).abandon()
    assert list(tmp_path.iterdir()) == []


def test_file_that_cannot_be_written_or_read_is_named(tmp_path):
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
def test_missing_frames(read, told, says):
    assert bool(missing_frames(read, told)) == says
