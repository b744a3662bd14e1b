"""tools/benchmark.py runs each benchmark and writes rows whose numbers go together."""

import json
import sys

import pytest
from programs import TOOLS, load_program

from mask2former_mt.ops import native

ON_LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="peak memory is read from /proc"
)
ROW = {"benchmark", "case", "peer", "ours_s", "peer_s", "ratio"}


@pytest.fixture
def benchmark(monkeypatch):
    """The tool's module; its own helpers lie beside it."""
    monkeypatch.syspath_prepend(str(TOOLS))
    yield load_program("benchmark.py")
    for name in [n for n in sys.modules if n.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


def rows_of(benchmark, tmp_path, *arguments):
    path = tmp_path / "rows.json"
    common = ["--device", "cpu", "--rounds", "1", "--warmup", "0", "--json", str(path)]
    benchmark.main([*arguments, *common])
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("arguments", "cases"),
    [
        (["op", "--sizes", "64", "96", "--peers", "reference"], 4),
        (["postprocess", "--sizes", "64", "--queries", "5", "--peers", "hf,reference"], 2),
        (["panoptic", "--sizes", "64", "--queries", "5", "--peers", "hf,reference"], 2),
        (["infer", "--sizes", "64", "--queries", "10", "--peers", "hf"], 1),
        (["eval", "--images", "3", "--keep", "5", "--objects", "2", "--peers", "pycocotools"], 1),
        (["train", "--sizes", "64", "--queries", "10", "--objects", "2", "--peers", "hf"], 1),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_rows_hold_paired_times(benchmark, tmp_path, capsys, arguments, cases):
    rows = rows_of(benchmark, tmp_path, *arguments)
    assert len(rows) == cases
    for row in rows:
        assert set(row) == ROW
        assert row["benchmark"] == arguments[0]
        # One round: the median of the ratios is the ratio of the medians.
        assert row["ratio"] == pytest.approx(row["peer_s"] / row["ours_s"])
        assert row["case"] in capsys.readouterr().out or len(rows) > 1


@ON_LINUX
def test_data_rows_hold_times_and_memory(benchmark, tmp_path):
    common = ["data", "--sizes", "64", "--objects", "2", "--annotations", "300"]
    rows = rows_of(benchmark, tmp_path, *common)
    assert all(row["benchmark"] == "data" and row["ratio"] > 0 for row in rows)
    mapper, start_up = [row for row in rows if row["peer"] == "detectron2"]
    assert set(mapper) == set(start_up) == ROW
    assert start_up["case"] == "start of a training on 300 annotations"
    unopened, opened, peak = [row for row in rows if "JSON of 300" in row["case"]]
    assert "38 images opened" in opened["case"]
    assert unopened["ratio"] == pytest.approx(unopened["peer_s"] / unopened["ours_s"])
    assert peak["ratio"] == pytest.approx(peak["peer_bytes"] / peak["ours_bytes"])


@ON_LINUX
def test_memory_is_measured_in_processes_of_their_own(benchmark, tmp_path):
    options = ["--sizes", "256", "--queries", "10", "--peers", "hf"]
    (row,) = rows_of(benchmark, tmp_path, "memory", *options)
    assert row["ratio"] == pytest.approx(row["peer_bytes"] / row["ours_bytes"])
    # The stem alone makes 64 maps of 128x128 floats.
    assert row["ours_bytes"] > 64 * 128 * 128 * 4


@ON_LINUX
def test_memory_grows_by_few_bytes_a_pixel_of_the_original(benchmark, tmp_path):
    options = ["--sizes", "256", "--queries", "20", "--keep", "20", "--peers", "direct"]
    (network_size,) = rows_of(benchmark, tmp_path, "memory", *options)
    (row,) = rows_of(benchmark, tmp_path, "memory", *options, "--original", "3000")
    assert "picture of 3000x3000" in row["case"]
    # Whole, 20 masks are 20 bytes a pixel.
    assert row["ours_bytes"] - network_size["ours_bytes"] <= 12 * 3000**2


def test_growth_with_objects_has_a_time_per_stage_and_size(
    benchmark, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(benchmark.object_growth, "AXES", {"objects": [1, 2, 3]})
    rows = rows_of(benchmark, tmp_path, "growth", "--axes", "objects")
    stages = ("loading", "checking", "evaluating", "reporting", "drawing", "sample", "loss")
    cases = [f"{stage}, {size} objects" for stage in stages for size in (1, 2, 3)]
    assert [row["case"] for row in rows] == cases
    assert all(set(row) == ROW and row["ours_s"] > 0 for row in rows)
    printed = capsys.readouterr().out
    assert "objects, exponent" in printed
    assert all(f"\n{stage}" in printed for stage in stages)


def test_profile_prints_operators_and_no_rows(benchmark, tmp_path, capsys):
    assert rows_of(benchmark, tmp_path, "op", "--sizes", "64", "--profile") == []
    operator = "ms_deform_attn" if native.is_available() else "grid_sampler"
    assert operator in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["op", "--peers", "nobody"], "no peer 'nobody'"),
        (["op", "--sizes", "0"], "must be at least 1"),
        (["nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_a_wrong_command_line_is_refused(benchmark, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
