"""Pixel decoder and transformer decoder, one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import nn

from mask2former_mt.modeling.pixel_decoder import MSDeformAttnPixelDecoder
from mask2former_mt.modeling.transformer_decoder import build_transformer_decoder
from mask2former_mt.structures import DecoderOutput


@SEM_SEG_HEADS_REGISTRY.register()
class MaskFormerHead(nn.Module):
    """Backbone features -> predictions.

    Args:
        pixel_decoder: maps -> (mask features, memories).
        predictor: (memories, mask features) -> DecoderOutput.
    """

    @configurable
    def __init__(self, *, pixel_decoder: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor

    @classmethod
    def from_config(cls, cfg, input_shape: Mapping[str, ShapeSpec]) -> dict:
        channels = cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM
        return {
            "pixel_decoder": MSDeformAttnPixelDecoder(cfg, input_shape),
            "predictor": build_transformer_decoder(cfg, in_channels=channels),
        }

    def forward(self, features: Mapping[str, torch.Tensor]) -> DecoderOutput:
        """Maps (B, C_i, H_i, W_i) of the backbone by name -> predictions of every query."""
        mask_features, memories = self.pixel_decoder(features)
        return self.predictor(memories, mask_features)
