"""detectron2's training loader, in which every sample has a number that decides what it is."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from detectron2.config import CfgNode
from detectron2.data import (
    DatasetCatalog,
    DatasetFromList,
    MetadataCatalog,
    build_batch_data_loader,
    build_detection_train_loader,
)
from detectron2.data.build import (
    filter_images_with_only_crowd_annotations,
    print_instances_class_histogram,
)
from detectron2.utils import comm
from torch.utils.data import Dataset, Sampler

from mask2former_mt.data.monitor import Contents, count_contents
from mask2former_mt.data.seeding import seeded
from mask2former_mt.data.target_kinds import SEMANTIC
from mask2former_mt.dataset.catalog import labels_of, map_onto, relabelled


class DrawSampler(Sampler):
    """Adds to each draw of a sampler of detectron2 its position in the stream of all processes.

    Those samplers shuffle one endless stream, the same in every process, of which process r of W
    takes the elements r, r + W, r + 2W ... So a number stands for the same sample whatever the
    number of processes and workers.

    Args:
        sampler: detectron2's; endless.
        first: the number to start at; a multiple of the number of processes.
    """

    def __init__(self, sampler: Sampler, first: int = 0) -> None:
        self.sampler = sampler
        self.first = first
        self.rank = comm.get_rank()
        self.world_size = comm.get_world_size()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yields (draw, index of the record)."""
        draws = itertools.count(self.rank, self.world_size)
        numbered = zip(draws, self.sampler, strict=False)
        return itertools.islice(numbered, self.first // self.world_size, None)


class MappedRecords(Dataset):
    """Maps the record of a draw when it is asked for.

    Args:
        records: dataset dicts.
        mapper: makes a sample of a record with the key `draw`; if it returns None, the next record
            is mapped with the same draw.
    """

    def __init__(
        self, records: Sequence[Mapping], mapper: Callable[[Mapping], dict | None]
    ) -> None:
        self.records = records
        self.mapper = mapper

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, numbers: tuple[int, int]) -> dict:
        draw, index = numbers
        for offset in range(len(self)):
            record = self.records[(index + offset) % len(self)]
            sample = self.mapper({**record, "draw": draw})
            if sample is not None:
                return sample
        raise ValueError(f"the mapper made a sample of none of the {len(self)} records")


class TrainLoader:
    """An endless loader of training batches.

    Args:
        loader: detectron2's.
        sampler: the one that it draws from.
        contents: what is in the dataset.
    """

    def __init__(
        self,
        loader: Iterable[list[dict]],
        sampler: DrawSampler,
        contents: Contents,
    ) -> None:
        self.loader = loader
        self.sampler = sampler
        self.contents = contents

    def start_at(self, draw: int) -> None:
        """Leaves out the samples before `draw`, the number that all processes together have used.

        Call it before the first batch is asked for.
        """
        self.sampler.first = draw

    def __iter__(self) -> Iterator[list[dict]]:
        return iter(self.loader)


def build_train_loader(
    cfg: CfgNode,
    mapper: Callable[[Mapping], dict | None],
    records: list[dict] | None = None,
) -> TrainLoader:
    """detectron2's loader of DATASETS.TRAIN, with its sampler, batches, workers and grouping.

    Args:
        cfg: with SEED not negative, the order of the records follows from it alone.
        mapper: makes a sample of each record with its `draw`. If it has a method `paste_from`,
            that is called with the records.
        records: of `build_records`; None: they are built here.

    Raises:
        ValueError: a dataset without a length, whose samples cannot be numbered.
    """
    records = build_records(cfg) if records is None else records
    with seeded(cfg.SEED) if cfg.SEED >= 0 else contextlib.nullcontext():
        arguments = build_detection_train_loader.from_config(cfg, mapper=mapper, dataset=records)
    sampler, records = arguments.pop("sampler"), arguments.pop("dataset")
    contents = count_contents(records, labels_of(*cfg.DATASETS.TRAIN).spec)
    if isinstance(records, list):
        # Packed into one array, which all workers share.
        records = DatasetFromList(records, copy=False)
    if hasattr(mapper, "paste_from"):
        mapper.paste_from(records)
    sampler = DrawSampler(sampler)
    arguments["mapper"] = None  # it is in the dataset
    ahead = _prefetching(
        cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
    )
    loader = build_detection_train_loader(
        MappedRecords(records, mapper), sampler=sampler, **arguments, **ahead
    )
    return TrainLoader(loader, sampler, contents)


def build_records(cfg: CfgNode) -> list[dict]:
    """The dataset dicts of DATASETS.TRAIN, labelled by the union of their lists.

    Raises:
        ValueError: a dataset that is no list, whose samples cannot be numbered; no pictures.
    """
    labels, records = labels_of(*cfg.DATASETS.TRAIN), []
    for dataset in cfg.DATASETS.TRAIN:
        own = DatasetCatalog.get(dataset)
        if not isinstance(own, list):
            raise ValueError(
                f"dataset {dataset!r} must be a list of records, got a {type(own).__name__}; its "
                "samples have no numbers to reproduce them by"
            )
        own = _with_classes_of_numbers(own, dataset)
        if labels_of(dataset).lists != labels.lists:
            own = relabelled(own, map_onto(labels, dataset, "their union"))
        records += own
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS and "annotations" in (records or [{}])[0]:
        records = filter_images_with_only_crowd_annotations(records)
    if not records:
        raise ValueError(f"DATASETS.TRAIN {list(cfg.DATASETS.TRAIN)} has no picture with an object")
    if labels.class_names and "annotations" in records[0]:
        print_instances_class_histogram(records, labels.class_names)
    return records


def _with_classes_of_numbers(records: list[dict], dataset: str) -> list[dict]:
    """Says in records with a map of classes what its numbers mean, as `read_objects` reads it."""
    ignored = MetadataCatalog.get(dataset).get("ignore_label", 255)
    classes = tuple(range(len(labels_of(dataset).class_names)))
    return [
        {"ignore_label": ignored, "semantic_classes": classes, **record}
        if SEMANTIC in record
        else record
        for record in records
    ]


def _prefetching(workers: int, batch: int) -> dict[str, int]:
    if not workers or "kwargs" not in inspect.signature(build_batch_data_loader).parameters:
        return {}  # without the latter, a detectron2 of 2021
    # Pictures come one by one: with PyTorch's two per worker the next batch would not be ready.
    return {"prefetch_factor": max(2, math.ceil(2 * batch / workers))}
