"""Pictures a person can read: instances over an image, pictures side by side, contact sheets.

Everything here takes and gives uint8 RGB arrays (H, W, 3) and changes none of its inputs.
"""

from mask2former_mt.visualization.disagreement_overlay import draw_disagreements
from mask2former_mt.visualization.instance_painting import SizeLimits
from mask2former_mt.visualization.label_text import Label, LabelNames
from mask2former_mt.visualization.overlay import (
    draw_ground_truth,
    draw_instances,
    draw_pair,
    draw_results,
)
from mask2former_mt.visualization.sheet import contact_sheet, with_legend

__all__ = [
    "Label",
    "LabelNames",
    "SizeLimits",
    "contact_sheet",
    "draw_disagreements",
    "draw_ground_truth",
    "draw_instances",
    "draw_pair",
    "draw_results",
    "with_legend",
]
