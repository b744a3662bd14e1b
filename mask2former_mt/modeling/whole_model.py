"""The model that a config describes, or what is wrong with the description."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

# What PyTorch, detectron2 and timm raise for sizes and names that do not fit together. A ValueError
# of this package says more than this could.
_OF_LIBRARIES = (
    *(AssertionError, LookupError, RuntimeError, TypeError, AttributeError, ArithmeticError),
)


def build_whole_model(cfg: CfgNode) -> nn.Module:
    """Builds the model of MODEL.META_ARCHITECTURE on MODEL.DEVICE.

    Raises:
        ValueError: the config's keys of the model do not go together.
    """
    try:
        return build_model(cfg)
    except _OF_LIBRARIES as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"the model {cfg.MODEL.META_ARCHITECTURE!r} cannot be built with the backbone "
            f"{cfg.MODEL.BACKBONE.NAME!r} from the keys below MODEL: {type(error).__name__} "
            f"{reason}; compare them with a config in configs/ (MASK2FORMER_MT_TRACEBACK=1 shows "
            "where it failed)"
        ) from error
