"""Queries to instances, semantic and panoptic maps: pure functions on tensors."""

from mask2former_mt.postprocess.filters import Filters
from mask2former_mt.postprocess.panoptic import PanopticOptions, predict_panoptic
from mask2former_mt.postprocess.predicted_instances import InstanceOptions, predict_instances
from mask2former_mt.postprocess.semantic import SemanticOptions, predict_semantic

__all__ = [
    "Filters",
    "InstanceOptions",
    "PanopticOptions",
    "SemanticOptions",
    "predict_instances",
    "predict_panoptic",
    "predict_semantic",
]
