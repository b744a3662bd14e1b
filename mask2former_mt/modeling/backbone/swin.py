"""Swin Transformer under the published name `D2SwinTransformer`, by detectron2's implementation.

timm's Swin cannot serve here: where a size is no multiple of the window it shifts before it pads,
and the published models pad before they shift, which gives other features. detectron2's is the
published one, with the published names of all parameters. Changed here: the features' names (res2
to res5), attention through `scaled_dot_product_attention`, stochastic depth by torchvision, and
checkpointing that needs no inputs with gradients.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.swin import SwinTransformer, SwinTransformerBlock, WindowAttention
from torch import nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

# detectron2's names of the four stages, by the published ones.
_STAGES = {"res2": "p0", "res3": "p1", "res4": "p2", "res5": "p3"}


class FusedWindowAttention(WindowAttention):
    """Attention inside windows with a learned bias per relative position.

    Has the parameters of `WindowAttention`, which it takes the place of.
    """

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Attends within each window.

        Args:
            x: float (B * W, N, C), N positions of each of W windows per image.
            mask: float (W, N, N), added to the logits; None where no window was shifted.

        Returns:
            float (B * W, N, C).

        Source: Swin Transformer, eq. 4.
        """
        # W windows, N positions, A heads
        num_windows, num_positions, _ = x.shape
        qkv = self.qkv(x).view(num_windows, num_positions, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B * W, A, N, C / A)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if mask is not None:
            # The windows of an image differ in their mask: they become heads, so that a mask of
            # (1, W * A, N, N) serves all images.
            bias = (mask.to(bias.dtype)[:, None] + bias).flatten(0, 1)
            q, k, v = (t.reshape(-1, len(bias), num_positions, t.shape[-1]) for t in (q, k, v))
        dropout = self.attn_drop.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias[None], dropout_p=dropout, scale=self.scale
        )
        attended = attended.reshape(num_windows, self.num_heads, num_positions, -1)
        return self.proj_drop(self.proj(attended.transpose(1, 2).flatten(2)))


@BACKBONE_REGISTRY.register()
class D2SwinTransformer(SwinTransformer):
    """detectron2's Swin with the published features' names.

    Args:
        out_features: some of res2, res3, res4, res5 (strides 4, 8, 16, 32).
        freeze_at: 0 trains everything; n freezes everything up to the feature of stride 2**n (1 the
            patch embedding, 2 up to res2, ...).
        drop_path_rate: probability in [0, 1) of leaving out the last block; it falls linearly to 0
            at the first.
        use_checkpoint: computes activations a second time in the backward pass instead of keeping
            them.
        kwargs: of detectron2's `SwinTransformer`.

    Raises:
        ValueError: an unknown feature.
    """

    @configurable
    def __init__(
        self,
        *,
        out_features: Sequence[str],
        freeze_at: int,
        drop_path_rate: float,
        use_checkpoint: bool,
        **kwargs,
    ) -> None:
        unknown = sorted(set(out_features) - set(_STAGES))
        if unknown:
            raise ValueError(f"MODEL.SWIN.OUT_FEATURES has {unknown[0]!r}, known are {[*_STAGES]}")
        # Stochastic depth of detectron2's imports a module of timm that is going away.
        super().__init__(**kwargs, drop_path_rate=0.0, frozen_stages=freeze_at or -1)
        self._out_features = [name for name in _STAGES if name in out_features]
        blocks = [module for module in self.modules() if isinstance(module, SwinTransformerBlock)]
        for index, block in enumerate(blocks):
            block.attn.__class__ = FusedWindowAttention
            rate = drop_path_rate * index / max(len(blocks) - 1, 1)
            block.drop_path = StochasticDepth(rate, mode="row") if rate else nn.Identity()
            if use_checkpoint:
                block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        """Arguments from the keys of `MODEL.SWIN`."""
        swin = cfg.MODEL.SWIN
        return {
            "in_chans": input_shape.channels,
            "pretrain_img_size": swin.PRETRAIN_IMG_SIZE,
            "patch_size": swin.PATCH_SIZE,
            "embed_dim": swin.EMBED_DIM,
            "depths": swin.DEPTHS,
            "num_heads": swin.NUM_HEADS,
            "window_size": swin.WINDOW_SIZE,
            "mlp_ratio": swin.MLP_RATIO,
            "qkv_bias": swin.QKV_BIAS,
            "qk_scale": swin.QK_SCALE,
            "drop_rate": swin.DROP_RATE,
            "attn_drop_rate": swin.ATTN_DROP_RATE,
            "drop_path_rate": swin.DROP_PATH_RATE,
            "ape": swin.APE,
            "patch_norm": swin.PATCH_NORM,
            "out_features": swin.OUT_FEATURES,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
            "use_checkpoint": swin.USE_CHECKPOINT,
        }

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Normalised image (B, 3, H, W) -> maps (B, C_i, H/stride, W/stride) by name."""
        stages = super().forward(image)
        return {name: stages[_STAGES[name]] for name in self._out_features}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each output by name."""
        return {
            name: ShapeSpec(channels=self.embed_dim * 2**index, stride=4 * 2**index)
            for index, name in enumerate(_STAGES)
            if name in self._out_features
        }

    @property
    def size_divisibility(self) -> int:
        """Batches are padded to a multiple of the last stage's stride."""
        return 32
