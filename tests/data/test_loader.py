"""The training stream: every sample has a number, and the number makes the sample."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from torch.utils.data import Sampler

from mask2former_mt.config import add_mask2former_mt_config
from mask2former_mt.data.loader import (
    DrawSampler,
    MappedRecords,
    build_records,
    build_train_loader,
)
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.dataset.catalog import labels_of, register_dataset_files, spec_of

PICTURES = 7


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    """A dataset of noise, in which any two samples differ, with a square in each."""
    folder = tmp_path_factory.mktemp("loader")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(PICTURES):
        # Standing and lying ones, for the grouping by aspect ratio.
        height, width = (40, 56) if i % 2 else (56, 40)
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "height": height, "width": width})
        annotations.append(
            {
                "id": i,
                "image_id": i,
                # The last class is rare.
                "category_id": 2 if i == PICTURES - 1 else 1,
                "bbox": [5, 6, 20, 20],
                "segmentation": [[5, 6, 25, 6, 25, 26, 5, 26]],
                "subcategories": {"style": i % 2},
            }
        )
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "often"}, {"id": 2, "name": "rare"}],
        "subcategories": [{"name": "style", "values": ["a", "b"]}],
    }
    (folder / "train.json").write_text(json.dumps(document))
    yaml_file = folder / "noise.yaml"
    yaml_file.write_text("name: noise\nroot: .\ntrain: {images: ., annotations: train.json}\n")
    return yaml_file


def _cfg(yaml_file, **changes) -> CfgNode:
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    (dataset,) = register_dataset_files([yaml_file])
    values = {
        "DATASETS.TRAIN": (dataset,),
        "DATALOADER.NUM_WORKERS": 0,
        "DATALOADER.ASPECT_RATIO_GROUPING": False,
        "SOLVER.IMS_PER_BATCH": 2,
        "SEED": 11,
        "INPUT.FORMAT": "RGB",
        "INPUT.AUGMENTATIONS": [
            {"name": "color"},
            {"name": "flip"},
            {"name": "rotate", "max_angle": 30},
            {"name": "lsj", "size": 32, "min_scale": 0.5, "max_scale": 1.5},
            {"name": "copy_paste", "prob": 0.7, "max_instances": 2},
        ],
        **changes,
    }
    cfg.merge_from_list(list(itertools.chain.from_iterable(values.items())))
    return cfg


def _loader(cfg: CfgNode):
    mapper = MultiTaskInstanceMapper(cfg, is_train=True, spec=spec_of(cfg.DATASETS.TRAIN[0]))
    return build_train_loader(cfg, mapper)


def _samples(loader, count: int) -> dict[int, dict]:
    """The first batches of a loader, until every draw below `count` has come."""
    found = {}
    for batch in loader:
        assert len(batch) == 2
        for sample in batch:
            assert sample["draw"] not in found
            found[sample["draw"]] = sample
        if set(range(count)) <= set(found):
            return {draw: found[draw] for draw in range(count)}
    raise AssertionError("the stream ended")


def _assert_same(one: dict, other: dict) -> None:
    assert one["file_name"] == other["file_name"]
    assert torch.equal(one["image"], other["image"])
    ours, theirs = one["instances"], other["instances"]
    for field in ("gt_masks", "gt_classes", "gt_subcategories"):
        assert torch.equal(ours.get(field), theirs.get(field))
    assert torch.equal(ours.gt_boxes.tensor, theirs.gt_boxes.tensor)
    kinds = [type(t) for t in one["transforms"].transforms]
    assert kinds == [type(t) for t in other["transforms"].transforms]
    assert kinds  # they have travelled with the sample


@pytest.mark.parametrize("grouping", [False, True])
@pytest.mark.parametrize("sampler", ["TrainingSampler", "RepeatFactorTrainingSampler"])
def test_seed_and_draw_make_the_sample_with_any_number_of_workers(name, sampler, grouping):
    changes = {
        "DATALOADER.SAMPLER_TRAIN": sampler,
        "DATALOADER.REPEAT_THRESHOLD": 0.5,
        "DATALOADER.ASPECT_RATIO_GROUPING": grouping,
    }
    workers = (1, 3) if sampler == "TrainingSampler" and not grouping else (3,)
    alone = _samples(_loader(_cfg(name, **changes)), 2 * PICTURES)
    for number in workers:
        cfg = _cfg(name, **{**changes, "DATALOADER.NUM_WORKERS": number})
        for draw, sample in _samples(_loader(cfg), 2 * PICTURES).items():
            _assert_same(alone[draw], sample)
    files = [sample["file_name"] for sample in alone.values()]
    if sampler == "TrainingSampler":
        # Each once per epoch, and another augmentation the second time.
        assert len(set(files[:PICTURES])) == len(set(files[PICTURES:])) == PICTURES
        again = PICTURES + files[PICTURES:].index(files[0])
        assert not torch.equal(alone[0]["image"], alone[again]["image"])
    else:
        # 1 of 7 has the rare class: sqrt(.5 / (1 / 7)) = 1.87 times as often.
        assert sum(file.endswith(f"{PICTURES - 1}.png") for file in files) >= 3


def test_another_seed_makes_other_samples(name):
    one = _samples(_loader(_cfg(name)), 4)
    same = _samples(_loader(_cfg(name)), 4)
    for draw in one:
        _assert_same(one[draw], same[draw])
    other = _samples(_loader(_cfg(name, SEED=12)), 4)
    assert not any(torch.equal(one[d]["image"], other[d]["image"]) for d in one)
    # Without a seed, no two runs are alike.
    free = [_samples(_loader(_cfg(name, SEED=-1)), 4) for _ in range(2)]
    assert not all(torch.equal(free[0][d]["image"], free[1][d]["image"]) for d in free[0])


def test_the_global_generators_are_left_alone(name):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = torch.rand(()), np.random.uniform()  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    _loader(_cfg(name))
    assert (torch.rand(()), np.random.uniform()) == expected  # noqa: NPY002


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_stream_goes_on_where_it_was(name, workers):
    whole = _samples(_loader(_cfg(name)), 10)
    loader = _loader(_cfg(name, **{"DATALOADER.NUM_WORKERS": workers}))
    loader.start_at(6)
    later = [sample for batch in itertools.islice(loader, 2) for sample in batch]
    assert [sample["draw"] for sample in later] == [6, 7, 8, 9]
    for sample in later:
        _assert_same(whole[sample["draw"]], sample)


class _Stream(Sampler):
    """Process r of W gets r, r + W, ... of the stream 100, 101, 102, ..."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size

    def __iter__(self):
        return itertools.count(100 + self.rank, self.world_size)


def test_draws_are_unique_across_processes():
    found = {}
    for rank in range(3):
        sampler = DrawSampler(_Stream(rank, 3), first=6)
        sampler.rank, sampler.world_size = rank, 3
        found.update(itertools.islice(sampler, 4))
    # Whatever the number of processes, draw d is the stream's element d.
    assert found == {draw: 100 + draw for draw in range(6, 18)}


def test_a_record_that_the_mapper_refuses_is_replaced_by_the_next():
    records = [{"name": name} for name in "abc"]
    mapped = MappedRecords(records, lambda r: None if r["name"] == "c" else r)
    assert mapped[5, 1] == {"name": "b", "draw": 5}
    assert mapped[6, 2] == {"name": "a", "draw": 6}
    assert records == [{"name": name} for name in "abc"]
    with pytest.raises(ValueError, match="a sample of none of the 3 records"):
        MappedRecords(records, lambda r: None)[0, 0]


def test_several_datasets_are_one_list_labelled_by_their_union(name, tmp_path):
    """The second lists another class first, its values turned round, and no class "often"."""
    document = json.loads((name.parent / "train.json").read_text())
    for entry in document["annotations"]:
        entry["category_id"] = 1 if entry["category_id"] == 2 else 3
        entry["subcategories"] = {"style": "ab"[entry["subcategories"]["style"]]}
    document["categories"] = [{"id": 1, "name": "rare"}, {"id": 3, "name": "new"}]
    document["subcategories"] = [{"name": "style", "values": ["c", "b", "a"]}]
    (tmp_path / "train.json").write_text(json.dumps(document))
    other = tmp_path / "other.yaml"
    split = f"train: {{images: {name.parent}, annotations: train.json}}"
    other.write_text(f"name: other\nroot: .\n{split}\n")
    register_dataset_files([other])

    records = build_records(_cfg(name, **{"DATASETS.TRAIN": ("noise_train", "other_train")}))
    labels = [
        (a["category_id"], *a["subcategories"]) for record in records for a in record["annotations"]
    ]
    # often 0, rare 1, new 2; a 0, b 1, c 2: the same objects, in the second "new" for "often".
    assert labels[:PICTURES] == [(0, 0), (0, 1), (0, 0), (0, 1), (0, 0), (0, 1), (1, 0)]
    assert labels[PICTURES:] == [(2, 0), (2, 1), (2, 0), (2, 1), (2, 0), (2, 1), (1, 0)]
    assert labels_of("noise_train", "other_train").class_names == ("often", "rare", "new")


def test_maps_of_classes_and_segments_are_labelled_by_the_union(name):
    """Datasets as others register them, one of which lists the same classes the other way round."""
    records = {
        "classes_ab": [{"sem_seg_file_name": "1.png"}],
        "classes_ba": [{"sem_seg_file_name": "2.png"}, {"segments_info": [{"category_id": 0}]}],
    }
    for dataset, listed in records.items():
        DatasetCatalog.register(dataset, lambda listed=listed: listed)
        MetadataCatalog.get(dataset).set(stuff_classes=list(dataset[-2:]), ignore_label=9)
    built = build_records(_cfg(name, **{"DATASETS.TRAIN": tuple(records)}))
    # a 0, b 1: in the second dataset's maps number 0 is b.
    assert [record.get("semantic_classes") for record in built] == [(0, 1), (1, 0), None]
    assert [record.get("ignore_label") for record in built] == [9, 9, None]
    assert built[2]["segments_info"] == [{"category_id": 1}]


def test_a_stream_without_numbers_is_refused(name):
    class Records(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([{}])

    DatasetCatalog.register("endless_records", Records)
    MetadataCatalog.get("endless_records")  # which the fixture takes off again
    cfg = _cfg(name, **{"DATASETS.TRAIN": ("endless_records",)})
    with pytest.raises(
        ValueError, match="must be a list of records, got a Records; its samples have"
    ):
        build_train_loader(cfg, lambda record: record)
