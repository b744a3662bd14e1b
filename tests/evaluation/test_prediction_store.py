"""Predictions on disk: in little memory, and gathered from real processes."""

import json
import pathlib
import sys

import pytest
import torch
import torch.multiprocessing
from detectron2.structures import Instances
from evaluation_scenes import SPEC, crowded_scene, evaluate
from process_group import leave_process_group

from mask2former_mt.evaluation import prediction_store
from mask2former_mt.evaluation.prediction_store import PredictionStore, write_predictions
from mask2former_mt.evaluation.results_json import instances_to_results


def entries(image_id, count=2):
    entry = {"image_id": image_id, "tiny": 1e-7, "value": None, "list": [0.1, 2.0], "text": 'ä"\\'}
    return [{**entry, "score": 0.1 * i} for i in range(count)]


def test_entries_come_back_in_the_order_that_is_asked_for():
    store = PredictionStore()
    for image_id in (3, "a", 1):
        store.add(image_id, entries(image_id))
    store.add(2, [])
    assert 3 in store
    assert 7 not in store
    assert list(store.entries([1, 2, 7, "a"])) == [*entries(1), *entries("a")]
    # Reading does not disturb writing.
    store.add(7, entries(7))
    assert list(store.entries([7, 3])) == [*entries(7), *entries(3)]
    assert store.gather() is store


@pytest.mark.parametrize("image_ids", [[], [2], [1], [3, 2, 1]])
def test_the_file_is_a_list_in_the_given_order(tmp_path, image_ids):
    store = PredictionStore()
    for image_id, count in ((1, 3), (2, 0), (3, 1)):
        store.add(image_id, entries(image_id, count))
    path = tmp_path / "new" / "results.json"
    write_predictions(store, image_ids, path)
    expected = list(store.entries(image_ids))
    assert json.loads(path.read_text(encoding="utf-8")) == expected
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]


def memory_mib():
    text = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def test_memory_is_flat_over_100_000_predictions(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("memory is read from /proc")
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(100, 8, 8, generator=generator) > 0.5
    instances = Instances(
        (32, 32),
        pred_masks=coarse.repeat_interleave(4, 1).repeat_interleave(4, 2),
        scores=torch.rand(100, generator=generator),
        pred_classes=torch.zeros(100, dtype=torch.int64),
        pred_subcategories=torch.zeros(100, 2, dtype=torch.int64),
        subcategory_scores=torch.rand(100, 2, generator=generator),
    )
    store = PredictionStore(tmp_path)
    for image_id in range(1000):
        results = instances_to_results(instances, image_id, spec=SPEC, category_ids=[1])
        store.add(image_id, results)
        if image_id == 99:
            before = memory_mib()
    # Their text alone is some 30 MB; as Python objects they would be hundreds.
    assert memory_mib() - before < 4
    assert sum(1 for _ in store.entries(range(990, 1000))) == 1000
    assert len(store.text_of(999)) * 1000 > 25e6


def evaluate_shard(rank, world_size, folder, seed):
    """One of the processes: every other image, then gather."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    # Several pieces per process.
    prediction_store._CHUNK_BYTES = 1000
    annotations, results = crowded_scene(seed)
    store = PredictionStore()
    for image_id in (1, 2, 3, 4):
        if image_id % world_size == rank:
            store.add(image_id, [r for r in results if r["image_id"] == image_id])
    merged = store.gather()
    assert (merged is None) == (rank != 0)
    if merged is not None:
        metrics = evaluate(annotations, merged.entries((1, 2, 3, 4)))
        content = {"metrics": metrics, "entries": list(merged.entries((1, 2, 3, 4)))}
        pathlib.Path(folder, "out.json").write_text(json.dumps(content), encoding="utf-8")
    # An image that both have.
    twice = PredictionStore()
    twice.add(5, entries(5))
    try:
        twice.gather()
    except ValueError as error:
        assert rank == 0
        pathlib.Path(folder, "error.txt").write_text(str(error), encoding="utf-8")
    leave_process_group()


def test_two_processes_give_what_one_gives(tmp_path):
    seed = 5
    torch.multiprocessing.spawn(evaluate_shard, args=(2, str(tmp_path), seed), nprocs=2)
    annotations, results = crowded_scene(seed)
    content = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert content["entries"] == results
    expected = evaluate(annotations, results)
    assert content["metrics"] == pytest.approx(expected, abs=0, nan_ok=True)
    assert len(results) > 20
    message = (tmp_path / "error.txt").read_text(encoding="utf-8")
    assert message == "image 5 was predicted by two processes"
