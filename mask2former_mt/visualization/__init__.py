"""Pictures a person can read: instances over an image, pictures side by side, contact sheets.

Everything here takes and gives uint8 RGB arrays (H, W, 3) and changes none of its inputs.
"""

from mask2former_mt.visualization.colours import class_colour
from mask2former_mt.visualization.disagreement_overlay import draw_disagreements
from mask2former_mt.visualization.label_painting import label_parts
from mask2former_mt.visualization.overlay import (
    draw_ground_truth,
    draw_instances,
    draw_predictions,
    draw_results,
)
from mask2former_mt.visualization.pairs import draw_pair
from mask2former_mt.visualization.sheet import contact_sheet, side_by_side, with_legend

__all__ = [
    "class_colour",
    "contact_sheet",
    "draw_disagreements",
    "draw_ground_truth",
    "draw_instances",
    "draw_pair",
    "draw_predictions",
    "draw_results",
    "label_parts",
    "side_by_side",
    "with_legend",
]
