"""A training sample that cannot be made is counted, and another takes its place."""

from __future__ import annotations

import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mask2former_mt.data.integrity import IntegrityError

LOGGER = logging.getLogger("mask2former_mt")

# A replacement has a draw number of its own: the number of attempts times this more, which is
# beyond the numbers of any training.
_NEXT_TRY = 2**40
# Bad samples in a row that are no accident any more.
_MAX_TRIES = 100


class BadSample(NamedTuple):
    """A record that no sample could be made of."""

    file_name: str  # of its image
    reason: str  # names the file, which by copy-paste may be another one


class TooManyBadSamplesError(RuntimeError):
    """More bad samples than DATALOADER.MAX_BAD_SAMPLES."""

    def __init__(self, reasons: Sequence[str], limit: int) -> None:
        listed = "".join(f"\n  {reason}" for reason in reasons[:10])
        more = f"\n  ... and {len(reasons) - 10} more" if len(reasons) > 10 else ""
        super().__init__(
            f"at most {limit} samples may be bad (DATALOADER.MAX_BAD_SAMPLES), got "
            f"{len(reasons)}; mend or remove them, or raise the limit:{listed}{more}"
        )
        self.reasons, self.limit = reasons, limit

    def __reduce__(self) -> tuple:
        # It travels from a worker to the main process.
        return type(self), (self.reasons, self.limit)


class SkipBadSamples:
    """A mapper that puts another sample in the place of one that cannot be made.

    A sample is bad if the mapper raises ValueError or OSError: a missing file or one that cannot be
    read, a damaged image or annotation. Errors that are not about the sample pass through: an
    `IntegrityError`, a lack of memory, an error in the program.

    Args:
        mapper: makes a sample of a record.
        limit: most different samples that may be bad.
    """

    def __init__(self, mapper: Callable[[Mapping], dict | None], *, limit: int) -> None:
        self.mapper = mapper
        self.limit = limit
        self.records: Sequence[Mapping] = ()

    def paste_from(self, records: Sequence[Mapping]) -> None:
        """Sets the dataset dicts that replacements are taken from, the mapper's own too."""
        self.records = records
        if hasattr(self.mapper, "paste_from"):
            self.mapper.paste_from(records)

    def __call__(self, record: Mapping) -> dict | None:
        """Maps one record, or another.

        Args:
            record: the replacement follows from its `draw` alone; without one, from its file's
                name.

        Returns:
            The mapper's sample. A replacement has its own `draw`, with which the mapper makes it
            again from its record; its `skipped` lists the `BadSample`s before it.

        Raises:
            TooManyBadSamplesError: more than the limit in a row, or a hundred.
            ValueError: there are no records to take a replacement from.
        """
        skipped: list[BadSample] = []
        candidate = record
        while True:
            try:
                sample = self.mapper(candidate)
            except IntegrityError:
                raise
            except (ValueError, OSError) as error:
                skipped.append(BadSample(str(candidate["file_name"]), str(error)))
                reasons = list(dict.fromkeys(bad.reason for bad in skipped))
                if len(reasons) > self.limit or len(skipped) >= _MAX_TRIES:
                    raise TooManyBadSamplesError(reasons, self.limit) from error
                candidate = self._another(record, len(skipped))
                continue
            if sample is not None and skipped:
                sample["skipped"] = skipped
            return sample

    def _another(self, record: Mapping, attempt: int) -> dict:
        if not len(self.records):
            raise ValueError(
                "there are no records to replace a bad sample by; build the loader with "
                "data.loader.build_train_loader, or call paste_from"
            )
        draw = record.get("draw")
        start = zlib.crc32(str(record["file_name"]).encode()) if draw is None else draw
        (word,) = np.random.SeedSequence((start, attempt)).generate_state(1)
        other = {**self.records[int(word) % len(self.records)]}
        if draw is not None:
            other["draw"] = draw + attempt * _NEXT_TRY
        return other


class BadSampleLedger:
    """Counts the bad samples, in the main process; at most `limit` different ones may be bad."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counts: Counter[str] = Counter()

    def add(self, skipped: Iterable[BadSample]) -> None:
        """Counts bad samples, and logs each that is new with its file and the reason.

        Raises:
            TooManyBadSamplesError: more different samples than the limit are bad.
        """
        for bad in skipped:
            self.counts[bad.reason] += 1
            if self.counts[bad.reason] == 1:
                LOGGER.warning(f"skipped the sample of {bad.file_name}: {bad.reason}")
        if len(self.counts) > self.limit:
            raise TooManyBadSamplesError(list(self.counts), self.limit)

    def summary(self) -> str:
        """A line for each bad sample, with how often it was drawn; empty if there was none."""
        if not self.counts:
            return ""
        lines = "".join(f"\n  {times}x {reason}" for reason, times in self.counts.items())
        return f"{len(self.counts)} bad samples were replaced by others:{lines}"
