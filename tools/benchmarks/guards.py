"""What the guards on samples cost, as a share of the mapper's time."""

from __future__ import annotations

import pathlib
import tempfile
import time

from detectron2.data import transforms as T

from benchmarks.data import PICTURES, make_records
from benchmarks.pairs import Settings, alternate
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.structures import SubcategorySpec


class _Timed(MultiTaskInstanceMapper):
    """Knows how much of its time its guard takes: two runs differ by more than that."""

    guard_s = total_s = 0.0

    def __call__(self, record):
        started = time.perf_counter()
        sample = super().__call__(record)
        self.total_s += time.perf_counter() - started
        return sample

    def _guard(self, sample):
        started = time.perf_counter()
        super()._guard(sample)
        self.guard_s += time.perf_counter() - started


class _Unguarded(MultiTaskInstanceMapper):
    def _guard(self, sample):
        pass


def run(settings: Settings) -> list[dict]:
    """The mapper with its guard on each sample, and with the deep check of each, against without.

    The guard's share is measured within the runs, and stands in the row's case.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        records = make_records(pathlib.Path(folder), settings.objects)
        for size in settings.sizes:
            timed, unguarded = _mapper(_Timed, size), _mapper(_Unguarded, size)
            where = f"{PICTURES} samples, {settings.objects} objects, crop {size}"
            peers = {"no guard": _all(unguarded, records)}
            (row,) = alternate("data", where, _all(timed, records), peers, settings)
            share = 100 * timed.guard_s / timed.total_s
            rows.append({**row, "case": f"guard: {share:.2f} % of the mapper's time, {where}"})
            deep = _mapper(MultiTaskInstanceMapper, size, deep_check_every=1)
            peers = {"no deep check": _all(_mapper(MultiTaskInstanceMapper, size), records)}
            (row,) = alternate("data", where, _all(deep, records), peers, settings)
            each = 1e3 * (row["ours_s"] - row["peer_s"]) / PICTURES
            rows.append({**row, "case": f"deep check: {each:.0f} ms each, {where}"})
    return rows


def _mapper(kind: type, size: int, **fields) -> MultiTaskInstanceMapper:
    return kind(
        is_train=True,
        augmentations=[
            T.RandomFlip(),
            T.ResizeScale(0.1, 2.0, size, size),
            T.FixedSizeCrop((size, size)),
        ],
        image_format="RGB",
        spec=SubcategorySpec(),
        num_classes=1,
        **fields,
    )


def _all(mapper, records):
    def once():
        for draw, record in enumerate(records):
            mapper({**record, "draw": draw})

    return once
