"""Multi-task Mask2Former for Detectron2: every instance has a mask, a class and N subcategories."""

# First of all: without detectron2 nothing below can be imported.
from mask2former_mt import _requirements
from mask2former_mt.config import add_mask2former_mt_config
from mask2former_mt.dataset.catalog import register_dataset_files

# These register backbone, head, decoders and meta-architectures with detectron2.
from mask2former_mt.modeling import mask_rcnn, meta_arch
from mask2former_mt.modeling.backbone import swin, timm_backbone
from mask2former_mt.structures import SubcategorySpec

__all__ = ["SubcategorySpec", "add_mask2former_mt_config", "register_dataset_files"]
