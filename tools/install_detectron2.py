#!/usr/bin/env python
"""Installs detectron2's Python files into the running environment, where it is not there yet.

detectron2 has no package of its own name. The wheel named in requirements-detectron2.txt holds
upstream's main of April 2024; it is tagged for one Python version, but only its compiled operators
depend on it, and nothing here uses those.
"""

import importlib.util
import pathlib
import subprocess
import sys
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main() -> None:
    if importlib.util.find_spec("detectron2") is not None:
        print("detectron2 is there already: left as it is")
        return
    site = pathlib.Path(sysconfig.get_paths()["purelib"])
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    command += ["--only-binary=:all:", "--python-version", "3.10", "--implementation", "cp"]
    command += ["--require-hashes", "-r", str(ROOT / "requirements-detectron2.txt")]
    subprocess.run(command, check=True)
    # Built for another Python: importing it could crash, its absence is handled.
    for binary in (site / "detectron2").glob("_C*.so"):
        binary.unlink()
    # It asks for numpy<2, although its Python runs on numpy 2: pip would warn at every install.
    for metadata in site.glob("sal_detectron2-*.dist-info/METADATA"):
        lines = metadata.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith("Requires-Dist:")]
        metadata.write_text("".join(kept), encoding="utf-8")
    print(f"installed detectron2 into {site}")


if __name__ == "__main__":
    main()
