"""README's own-data commands do what README says, on the five pictures that come with it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def own_data_commands() -> list[list[str]]:
    """The commands of the bash blocks in the section "Your own data", as argument lists."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Your own data")[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.startswith("python ")]


def run(arguments: list[str], output: Path) -> None:
    arguments = [a.replace("output/example", str(output)) for a in arguments[1:]]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_five_image_example_trains_and_predicts_as_the_readme_says(tmp_path):
    check, train, predict = own_data_commands()
    assert "tools/check_dataset.py" in check
    assert "tools/train_net.py" in train
    assert "tools/predict.py" in predict
    # Nothing is wrong with it: the exit code is 0.
    run(check, tmp_path)
    assert (tmp_path / "check" / "report.html").is_file()

    # Two iterations show that files, labels and commands fit; a later key wins.
    run([*train, "SOLVER.MAX_ITER", "2"], tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert {"segm/AP", "joint/AP", "joint/AP-material", "train/seconds"} <= set(metrics)

    run(predict, tmp_path)
    record = json.loads((tmp_path / "predictions" / "predictions.json").read_text(encoding="utf-8"))
    assert len(record["images"]) == 5
    assert len(list((tmp_path / "predictions").glob("*.png"))) == 5
