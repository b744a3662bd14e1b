"""How the time of inference grows with the image's side and with the number of queries."""

from __future__ import annotations

import math

from benchmarks import models
from benchmarks.pairs import Settings, print_rows

SIDES = [256, 384, 512, 768, 1024]
QUERIES = [50, 100, 200, 300]
PIXELS = [side * side for side in SIDES]
AXES = ("pixels", "queries")


def run(settings: Settings) -> list[dict]:
    """Prints a table and an exponent for sides and for queries, and plots both."""
    tables = {}
    for what, at, changes in (
        # Side n has n * n pixels: the exponent is 1 where time is linear in pixels.
        ("pixels", PIXELS, {"sizes": SIDES, "queries": [100]}),
        ("queries", QUERIES, {"sizes": [512], "queries": QUERIES}),
    ):
        if what not in settings.axes:
            continue
        tables[what] = models.infer(Settings(**{**vars(settings), **changes}))
        print_rows(tables[what])
        for side in ("ours", "peer"):
            times = [row[f"{side}_s"] for row in tables[what]]
            if times and None not in times:
                exponent = math.log(times[-1] / times[0]) / math.log(at[-1] / at[0])
                print(f"{side}: time grows with {what} to the power of {exponent:.2f}")
    if settings.plot and len(tables) == len(AXES):
        _plot(tables, settings)
    return [row for table in tables.values() for row in table]


def _plot(tables: dict[str, list[dict]], settings: Settings) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for axis, what, label, at in (
        (axes[0], "pixels", "million pixels", [pixels / 1e6 for pixels in PIXELS]),
        (axes[1], "queries", "queries", QUERIES),
    ):
        for side, name in (("ours", "mask2former_mt"), ("peer", "transformers")):
            times = [row[f"{side}_s"] for row in tables[what]]
            if None not in times:
                axis.plot(at, times, marker="o", label=name)
        axis.set(xlabel=label, ylabel="seconds per picture")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(f"Mask2Former R50 inference, {settings.device}, {settings.dtype}")
    figure.tight_layout()
    figure.savefig(settings.plot, dpi=120)
    print(f"wrote {settings.plot}")
