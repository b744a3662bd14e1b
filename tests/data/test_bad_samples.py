"""Bad samples: replaced by the same others every time, counted once each, and not without limit."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
from PIL import Image
from scenes_on_disk import mapper_of, record_of, write_coordinates
from torch.utils.data import DataLoader

from mask2former_mt.data.bad_samples import (
    BadSample,
    BadSampleLedger,
    SkipBadSamples,
    TooManyBadSamplesError,
)
from mask2former_mt.data.integrity import IntegrityError
from mask2former_mt.data.loader import MappedRecords

JITTER = [{"name": "flip"}, {"name": "lsj", "size": 64}]


@pytest.fixture
def records(tmp_path) -> list[dict]:
    """Six pictures, of which 1.jpg is cut short and 4.png missing."""
    records = [record_of(write_coordinates(tmp_path / f"{i}.png")) for i in range(6)]
    cut = tmp_path / "1.jpg"
    Image.open(records[1]["file_name"]).save(cut, quality=95)
    cut.write_bytes(cut.read_bytes()[:1500])
    records[1]["file_name"] = str(cut)
    Path(records[4]["file_name"]).unlink()
    return records


def skipping(records: list[dict], *, limit: int = 10, **fields) -> SkipBadSamples:
    mapper = SkipBadSamples(mapper_of(JITTER, **fields), limit=limit)
    mapper.paste_from(records)
    return mapper


def test_a_bad_sample_is_replaced_and_named(records):
    assert "skipped" not in skipping(records)({**records[0], "draw": 5})
    sample = skipping(records)({**records[1], "draw": 5})
    assert sample["file_name"] != records[1]["file_name"]
    first = sample["skipped"][0]
    assert first.file_name == records[1]["file_name"]
    assert "1.jpg cannot be read: image file is truncated" in first.reason


def test_the_replacement_follows_from_the_draw(records):
    samples = [skipping(records)({**records[4], "draw": draw}) for draw in (7, 7, *range(20))]
    assert samples[0]["file_name"] == samples[1]["file_name"]
    assert (samples[0]["image"] == samples[1]["image"]).all()
    # Other draws, other replacements: all that are good, in time.
    good = {record["file_name"] for i, record in enumerate(records) if i not in (1, 4)}
    assert {sample["file_name"] for sample in samples} == good
    # With the draw that it says, the replacement is made again by the mapper alone.
    again = mapper_of(JITTER)(
        {**next(r for r in records if r["file_name"] == samples[0]["file_name"])}
        | {"draw": samples[0]["draw"]}
    )
    assert (again["image"] == samples[0]["image"]).all()
    # Without a draw it follows from the file.
    first, second = (skipping(records)(records[4])["file_name"] for _ in range(2))
    assert first == second


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
def test_workers_report_to_the_main_process(records, workers):
    dataset = MappedRecords(records, skipping(records))
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=list(enumerate(range(6))),
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
    )
    ledger = BadSampleLedger(limit=2)
    names = []
    for sample in loader:
        ledger.add(sample.get("skipped", ()))
        names.append(Path(sample["file_name"]).name)
    assert len(names) == 6
    assert names[0] == "0.png"
    assert not {"1.jpg", "4.png"} & set(names)
    assert len(ledger.counts) == 2
    assert "2 bad samples were replaced by others:" in ledger.summary()
    assert "1.jpg cannot be read: image file is truncated" in ledger.summary()
    assert "4.png does not exist" in ledger.summary()


def test_a_bad_picture_to_paste_from_is_replaced_too(records):
    paste = [{"name": "copy_paste", "prob": 1.0}]
    mapper = SkipBadSamples(mapper_of(paste), limit=10)
    mapper.paste_from(records)
    skipped = []
    for draw in range(12):
        sample = mapper({**records[0], "draw": draw})
        skipped += sample.get("skipped", ())
    assert any(bad.file_name == records[0]["file_name"] for bad in skipped)
    # However many pictures wanted to paste from them, two are bad.
    assert len({bad.reason for bad in skipped}) == 2


@pytest.mark.parametrize(
    "error",
    [TypeError("t"), KeyError("k"), MemoryError(), IntegrityError("i"), KeyboardInterrupt()],
)
def test_what_is_not_about_the_sample_passes_through(records, error):
    def mapper(record):
        raise error

    skips = SkipBadSamples(mapper, limit=10)
    skips.paste_from(records)
    with pytest.raises(type(error)):
        skips({**records[0], "draw": 0})


@pytest.mark.parametrize(
    ("reason", "limit", "match"),
    [
        ("always the same", 10, r"at most 10 .*got 1;(?s:.*)always the same"),
        # The first, and two replacements.
        ("draw {draw}", 2, "at most 2 samples .*got 3;"),
    ],
)
def test_a_mapper_that_refuses_everything_ends(records, reason, limit, match):
    def mapper(record):
        raise ValueError(reason.format(**record))

    skips = SkipBadSamples(mapper, limit=limit)
    skips.paste_from(records)
    with pytest.raises(TooManyBadSamplesError, match=match):
        skips({**records[0], "draw": 0})


def test_records_are_needed(records):
    with pytest.raises(ValueError, match="no records to replace a bad sample by; build the loader"):
        SkipBadSamples(mapper_of(JITTER), limit=10)({**records[4], "draw": 0})


def test_the_ledger_logs_each_once_and_counts(caplog):
    ledger = BadSampleLedger(limit=2)
    assert ledger.summary() == ""
    first, second = BadSample("a.png", "a.png is gone"), BadSample("b.png", "b.png is cut")
    with caplog.at_level(logging.WARNING, "mask2former_mt"):
        ledger.add([first])
        ledger.add([second, first])
        ledger.add([])
    assert [r.message for r in caplog.records] == [
        "skipped the sample of a.png: a.png is gone",
        "skipped the sample of b.png: b.png is cut",
    ]
    assert ledger.summary().splitlines()[1:] == ["  2x a.png is gone", "  1x b.png is cut"]
    with pytest.raises(TooManyBadSamplesError, match=r"at most 2 .*got 3; mend or remove them"):
        ledger.add([BadSample("c.png", "c.png is empty")])


def test_the_error_lists_ten_and_travels_between_processes():
    error = TooManyBadSamplesError([f"reason {i}" for i in range(12)], 11)
    _, *lines = str(pickle.loads(pickle.dumps(error))).splitlines()
    assert lines == [*(f"  reason {i}" for i in range(10)), "  ... and 2 more"]
