"""Files of predictions of every form, and damaged ones."""

import json

import pytest

from mask2former_mt.evaluation import prediction_files
from mask2former_mt.evaluation.prediction_files import read_predictions

ENTRIES = [{"image_id": i, "score": 0.5, "text": '}{"\\ é' * i} for i in range(30)]


def written(tmp_path, text):
    path = tmp_path / "predictions.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


@pytest.fixture(params=[7, 100, 2**20])
def chunk(request, monkeypatch):
    """Characters read at a time: less than an entry, less than the file, more."""
    monkeypatch.setattr(prediction_files, "_CHUNK", request.param)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ENTRIES),
        json.dumps(ENTRIES, indent=2) + "\n\n",
        "[\n" + ",\n".join(map(json.dumps, ENTRIES)) + "\n]\n",
        "\n".join(map(json.dumps, ENTRIES)) + "\n",
        "".join(map(json.dumps, ENTRIES)),
        "\ufeff" + json.dumps(ENTRIES),
        json.dumps({"images": [], "annotations": ENTRIES}),
    ],
)
def test_a_list_lines_and_an_object_hold_the_same(tmp_path, text):
    assert list(read_predictions(written(tmp_path, text))) == ENTRIES


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("text", ["[]", "[ ]\n", '{"annotations": []}'])
def test_an_empty_list(tmp_path, text):
    assert list(read_predictions(written(tmp_path, text))) == []


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("form", [json.dumps(ENTRIES[:4]), "\n".join(map(json.dumps, ENTRIES[:4]))])
def test_a_file_that_is_cut_short_anywhere_is_named(tmp_path, form):
    whole = {len(form)}
    if form[0] == "{":
        # Between two lines nothing is missing.
        whole |= {i + d for i, c in enumerate(form) if c == "\n" for d in (0, 1)}
    for length in range(1, len(form)):
        if length in whole:
            continue
        path = written(tmp_path, form[:length])
        with pytest.raises(ValueError, match=r"predictions\.json: character \d+: .*cut short"):
            list(read_predictions(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a list or an object, got 'the end of the file'"),
        ("nonsense", "character 0: expected a list or an object, got 'nonsense'"),
        ("[1, 2]", "character 1: expected an object, the next entry, got '1, 2]'"),
        ('[{"a": 1} {"b": 2}]', "character 10: expected ',' or ']', got"),
        ('[{"a": 1}] more', "character 11: expected nothing after the list, got 'more'"),
        ('[{"a": 1},]', "expected an object, the next entry, got ']'"),
        ('[{"a": x, "b": "' + "long" * 100 + '"}]', "character 7: Expecting value"),
        ('{"a": 1}\n[2]', "expected an object, the next entry"),
        ('{"annotations": 3}', "'annotations' must be a list of entries"),
        (b"\xff\xfe\x00[", r"predictions.json is no text: 'utf-8' codec can't decode"),
    ],
)
def test_what_is_no_predictions_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        list(read_predictions(written(tmp_path, text)))


def test_a_malformed_entry_is_named_before_the_rest_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_files, "_CHUNK", 64)
    path = written(tmp_path, '[{"a": 1}, {"b" 2, "c": 3, "d": 4, "e": 5, "f": 6}' + " " * 10**6)
    reads = []
    original = prediction_files._Text._fill
    monkeypatch.setattr(
        prediction_files._Text, "_fill", lambda self, n: reads.append(n) or original(self, n)
    )
    with pytest.raises(ValueError, match="character 16: Expecting ':' delimiter"):
        list(read_predictions(path))
    assert sum(reads) <= 128


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json do not exist"):
        list(read_predictions(tmp_path / "nowhere.json"))
    with pytest.raises(FileNotFoundError, match="are no file"):
        list(read_predictions(tmp_path))
