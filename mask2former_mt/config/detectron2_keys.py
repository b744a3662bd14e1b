"""detectron2's own config keys: the rules of those that are read here, and why others are not.

A test walks over all of detectron2's keys: each is in one of the two tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from detectron2.config import CfgNode
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
)

from mask2former_mt.config.config_nodes import leaves
from mask2former_mt.config.config_rules import (
    BELOW_ONE,
    MANY,
    MOST_CHANNELS,
    MOST_PIXELS,
    NAME,
    NORM,
    SWITCH,
    TEXT,
    Rule,
    ascending,
    between,
    count,
    distinct,
    each,
    is_list,
    is_number,
    list_of,
    one_of,
    only,
    registered_in,
    some,
    up_to,
)
from mask2former_mt.config.rcnn_keys import RCNN_KEYS
from mask2former_mt.data.augment import CROP_TYPES, FLIPS
from mask2former_mt.modeling.backbone.swin import D2SwinTransformer
from mask2former_mt.modeling.backbone.timm_backbone import build_timm_backbone
from mask2former_mt.modeling.mask_rcnn import MultiTaskRCNN, build_timm_fpn_backbone
from mask2former_mt.modeling.meta_arch import MultiTaskMaskFormer
from mask2former_mt.solver.optimizer import CLIPPERS
from mask2former_mt.solver.schedule import SCHEDULES

# Values of INPUT.DATASET_MAPPER_NAME that INPUT.CROP belongs to.
CROPPING = ("mask_former_semantic", "mask_former_panoptic", "mask_former_instance")
COLOUR = list_of(3, between(-1000, 1000))


def _is_expected_result(row: object) -> bool:
    return (
        is_list(row)
        and len(row) == 4
        and all(isinstance(text, str) for text in row[:2])
        and all(is_number(value) for value in row[2:])
    )


# Read by this package, or by the parts of detectron2 that it runs.
READ: dict[str, dict[str, Rule]] = {
    **RCNN_KEYS,
    "MODEL": {
        "LOAD_PROPOSALS": only(False, "nothing here takes proposals"),
        "MASK_ON": SWITCH,
        "KEYPOINT_ON": only(False, "nothing here learns keypoints"),
        "META_ARCHITECTURE": registered_in("META_ARCH_REGISTRY", META_ARCH_REGISTRY),
        "WEIGHTS": TEXT,
        "PIXEL_MEAN": COLOUR,
        "PIXEL_STD": list_of(3, up_to(1_000_000)),
    },
    "MODEL.BACKBONE": {
        "NAME": registered_in("BACKBONE_REGISTRY", BACKBONE_REGISTRY),
        "FREEZE_AT": count(0, 100),
    },
    "MODEL.FPN": {
        "IN_FEATURES": each(NAME),
        "OUT_CHANNELS": count(1, MOST_CHANNELS),
        "NORM": NORM,
        "FUSE_TYPE": one_of(("sum", "avg")),
    },
    "MODEL.SEM_SEG_HEAD": {
        "NAME": registered_in("SEM_SEG_HEADS_REGISTRY", SEM_SEG_HEADS_REGISTRY),
        "IN_FEATURES": some(NAME),
        "CONVS_DIM": count(1, MOST_CHANNELS),
        "COMMON_STRIDE": count(1, 1024),
        "NORM": NORM,
    },
    "MODEL.RESNETS": {
        "DEPTH": one_of((18, 34, 50, 101, 152)),
        "OUT_FEATURES": some(one_of(("stem", "res2", "res3", "res4", "res5"))),
        "NUM_GROUPS": count(1, MOST_CHANNELS),
        "NORM": NORM,
        "WIDTH_PER_GROUP": count(1, MOST_CHANNELS),
        "STRIDE_IN_1X1": SWITCH,
        "RES5_DILATION": one_of((1, 2)),
        "RES2_OUT_CHANNELS": count(1, MOST_CHANNELS),
        "STEM_OUT_CHANNELS": count(1, MOST_CHANNELS),
        "DEFORM_ON_PER_STAGE": list_of(4, SWITCH),
        "DEFORM_MODULATED": SWITCH,
        "DEFORM_NUM_GROUPS": count(1, MOST_CHANNELS),
    },
    "INPUT": {
        "MIN_SIZE_TRAIN": some(count(1, MOST_PIXELS)),
        "MIN_SIZE_TRAIN_SAMPLING": one_of(("choice", "range")),
        "MAX_SIZE_TRAIN": count(1, MOST_PIXELS),
        # 0: pictures keep their size.
        "MIN_SIZE_TEST": count(0, MOST_PIXELS),
        "MAX_SIZE_TEST": count(1, MOST_PIXELS),
        "RANDOM_FLIP": one_of(FLIPS),
        "FORMAT": one_of(("RGB", "BGR")),
    },
    "INPUT.CROP": {
        "ENABLED": SWITCH,
        "TYPE": one_of(CROP_TYPES),
        "SIZE": list_of(2, up_to(MOST_PIXELS)),
    },
    "DATASETS": {"TRAIN": each(NAME), "TEST": distinct(NAME)},
    "DATALOADER": {
        "NUM_WORKERS": count(0, 1024),
        "ASPECT_RATIO_GROUPING": SWITCH,
        # detectron2's other samplers need keys that its default config lacks.
        "SAMPLER_TRAIN": one_of(("TrainingSampler", "RepeatFactorTrainingSampler")),
        "REPEAT_THRESHOLD": between(0, 1),
        "REPEAT_SQRT": SWITCH,
        "FILTER_EMPTY_ANNOTATIONS": SWITCH,
    },
    "SOLVER": {
        "LR_SCHEDULER_NAME": one_of(SCHEDULES),
        "MAX_ITER": count(1, MANY),
        # 0 keeps what was loaded; a rate that is too high ends in a loss that says so.
        "BASE_LR": between(0, 1e12),
        "BASE_LR_END": between(0, 1000),
        "MOMENTUM": BELOW_ONE,
        "NESTEROV": SWITCH,
        "WEIGHT_DECAY": between(0, 1000),
        "WEIGHT_DECAY_NORM": between(0, 1000),
        "GAMMA": up_to(1000),
        "STEPS": ascending(count(1, MANY)),
        "NUM_DECAYS": count(1, MANY),
        "WARMUP_FACTOR": between(0, 1000),
        "WARMUP_ITERS": count(0, MANY),
        "WARMUP_METHOD": one_of(("linear", "constant")),
        "RESCALE_INTERVAL": SWITCH,
        "CHECKPOINT_PERIOD": count(1, MANY),
        "IMS_PER_BATCH": count(1, 1_000_000),
    },
    "SOLVER.CLIP_GRADIENTS": {
        "ENABLED": SWITCH,
        "CLIP_TYPE": one_of(CLIPPERS),
        "CLIP_VALUE": between(0, 1_000_000),
        "NORM_TYPE": up_to(1000),
    },
    "SOLVER.AMP": {"ENABLED": SWITCH},
    "TEST": {
        "EXPECTED_RESULTS": each(Rule("[task, metric, value, tolerance]", _is_expected_result)),
        # 0: only at the end.
        "EVAL_PERIOD": count(0, MANY),
        "DETECTIONS_PER_IMAGE": count(1, 1_000_000),
    },
    "TEST.PRECISE_BN": {"ENABLED": SWITCH, "NUM_ITER": count(1, MANY)},
    "": {
        "VERSION": one_of((2,)),
        "OUTPUT_DIR": NAME,
        # Negative: another seed in every run.
        "SEED": Rule("an integer below 2**31", lambda x: type(x) is int and -(2**31) < x < 2**31),
        "CUDNN_BENCHMARK": SWITCH,
    },
}


class Unread(NamedTuple):
    """Keys that nothing reads, or that nothing reads where a condition holds.

    Args:
        keys: keys, and sections of which all keys are meant.
        why: what is said of them after "without effect: ".
        when: the condition, of a config; without one, it is always so.
    """

    keys: tuple[str, ...]
    why: str
    when: Callable[[CfgNode], bool] | None = None


def is_of(cfg: CfgNode, model: type) -> bool:
    """Whether a config's meta-architecture is a class or derived from it."""
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    return isinstance(architecture, type) and issubclass(architecture, model)


def predicts_by_queries(cfg: CfgNode) -> bool:
    """Whether the model is this package's Mask2Former, or derived from it."""
    return is_of(cfg, MultiTaskMaskFormer)


def _of_regions(cfg: CfgNode) -> bool:
    return is_of(cfg, MultiTaskRCNN)


def _of_another_head(cfg: CfgNode) -> bool:
    return cfg.MODEL.SEM_SEG_HEAD.NAME != "MaskFormerHead"


def _has_backbone(*names: str) -> Callable[[CfgNode], bool]:
    return lambda cfg: cfg.MODEL.BACKBONE.NAME in names


RESNET, TIMM = "build_resnet_backbone", build_timm_backbone.__name__
TIMM_FPN = build_timm_fpn_backbone.__name__
SWIN = D2SwinTransformer.__name__
FORMER_TEST = "MODEL.MASK_FORMER.TEST"

UNREAD: tuple[Unread, ...] = (
    Unread(tuple(RCNN_KEYS), "of MODEL.META_ARCHITECTURE 'MultiTaskRCNN'", predicts_by_queries),
    Unread(
        (
            *("MODEL.ROI_BOX_CASCADE_HEAD", "MODEL.ROI_KEYPOINT_HEAD", "MODEL.PANOPTIC_FPN"),
            *("MODEL.RETINANET", "MODEL.ANCHOR_GENERATOR.ANGLES"),
            "MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER",
            "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES",
        ),
        "of detectron2's other models",
    ),
    Unread(("MODEL.MASK_ON",), "masks are always learned and predicted", predicts_by_queries),
    Unread(
        (
            *("MODEL.MASK_FORMER", "MODEL.MS_DEFORM_ATTN_IMPL", "MODEL.COMPILE"),
            "MODEL.SUBCATEGORY.MATCH_COSTS",
            *(
                f"MODEL.SEM_SEG_HEAD.{key}"
                for key in ("NAME", "IN_FEATURES", "CONVS_DIM", "COMMON_STRIDE", "NORM")
            ),
            *("MODEL.SEM_SEG_HEAD.MASK_DIM", "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME"),
            "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS",
        ),
        "of MODEL.META_ARCHITECTURE 'MultiTaskMaskFormer'",
        _of_regions,
    ),
    Unread(
        ("MODEL.SEM_SEG_HEAD.IGNORE_VALUE",),
        "a dataset says itself which of its pixels are ignored",
    ),
    Unread(
        ("MODEL.SEM_SEG_HEAD.LOSS_WEIGHT",),
        "use MODEL.MASK_FORMER.{CLASS_WEIGHT, MASK_WEIGHT, DICE_WEIGHT}",
    ),
    Unread(
        ("MODEL.MASK_FORMER.ENC_LAYERS", "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE"),
        "of the older MaskFormer; MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS is read",
    ),
    Unread(
        ("MODEL.RESNETS.STEM_TYPE", "MODEL.RESNETS.RES5_MULTI_GRID"),
        "of DeepLab's ResNet; the backbone here is detectron2's",
    ),
    Unread(("MODEL.RESNETS",), "the backbone is another", _has_backbone(TIMM, TIMM_FPN, SWIN)),
    Unread(("MODEL.FPN",), "the backbone has no FPN", _has_backbone(RESNET, TIMM, SWIN)),
    Unread(("MODEL.SWIN",), "the backbone is another", _has_backbone(RESNET, TIMM, TIMM_FPN)),
    Unread(
        ("MODEL.TIMM",),
        f"MODEL.BACKBONE.NAME is not '{TIMM}'",
        lambda cfg: cfg.MODEL.BACKBONE.NAME not in (TIMM, TIMM_FPN),
    ),
    Unread(
        ("INPUT.CROP",),
        f"INPUT.DATASET_MAPPER_NAME is none of {', '.join(CROPPING)}; use them, or INPUT."
        "AUGMENTATIONS with {name: crop, size: [HEIGHT, WIDTH]} or lsj",
        lambda cfg: bool(cfg.INPUT.AUGMENTATIONS) or cfg.INPUT.DATASET_MAPPER_NAME not in CROPPING,
    ),
    Unread(
        tuple(f"INPUT.CROP.{key}" for key in ("TYPE", "SIZE", "SINGLE_CATEGORY_MAX_AREA")),
        "INPUT.CROP.ENABLED is False",
        lambda cfg: not cfg.INPUT.CROP.ENABLED,
    ),
    Unread(("INPUT.MASK_FORMAT",), "polygons and RLEs are both read, and drawn as bitmaps"),
    Unread(
        (
            *("INPUT.MIN_SIZE_TRAIN", "INPUT.MIN_SIZE_TRAIN_SAMPLING", "INPUT.MAX_SIZE_TRAIN"),
            *("INPUT.COLOR_AUG_SSD", "INPUT.IMAGE_SIZE", "INPUT.MIN_SCALE", "INPUT.MAX_SCALE"),
        ),
        "INPUT.AUGMENTATIONS is not empty, and says all that is done",
        lambda cfg: bool(cfg.INPUT.AUGMENTATIONS),
    ),
    Unread(
        ("INPUT.RANDOM_FLIP",),
        "INPUT.AUGMENTATIONS is not empty; add {name: flip, direction: ...} to it",
        lambda cfg: bool(cfg.INPUT.AUGMENTATIONS) and cfg.INPUT.RANDOM_FLIP != "none",
    ),
    Unread(
        (
            *("DATASETS.PROPOSAL_FILES_TRAIN", "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN"),
            *("DATASETS.PROPOSAL_FILES_TEST", "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST"),
        ),
        "nothing here takes proposals",
    ),
    Unread(
        ("DATALOADER.REPEAT_THRESHOLD", "DATALOADER.REPEAT_SQRT"),
        "DATALOADER.SAMPLER_TRAIN is not 'RepeatFactorTrainingSampler'",
        lambda cfg: cfg.DATALOADER.SAMPLER_TRAIN != "RepeatFactorTrainingSampler",
    ),
    Unread(
        ("DATALOADER.MAX_BAD_SAMPLES",),
        "DATALOADER.ON_BAD_SAMPLE is not 'skip'",
        lambda cfg: cfg.DATALOADER.ON_BAD_SAMPLE != "skip",
    ),
    Unread(
        ("SOLVER.BIAS_LR_FACTOR", "SOLVER.WEIGHT_DECAY_BIAS"),
        "biases learn and decay as weights do, as published",
    ),
    Unread(
        ("SOLVER.REFERENCE_WORLD_SIZE",),
        "use SOLVER.REFERENCE_IMS_PER_BATCH, which the learning rate and the schedule follow",
    ),
    Unread(
        ("SOLVER.MOMENTUM", "SOLVER.NESTEROV"),
        "SOLVER.OPTIMIZER is not 'SGD'",
        lambda cfg: cfg.SOLVER.OPTIMIZER != "SGD",
    ),
    Unread(
        ("SOLVER.STEPS",),
        "SOLVER.LR_SCHEDULER_NAME is not 'WarmupMultiStepLR'",
        lambda cfg: cfg.SOLVER.LR_SCHEDULER_NAME != "WarmupMultiStepLR",
    ),
    Unread(
        ("SOLVER.GAMMA",),
        "SOLVER.LR_SCHEDULER_NAME is 'WarmupCosineLR' or 'WarmupPolyLR'",
        lambda cfg: cfg.SOLVER.LR_SCHEDULER_NAME in ("WarmupCosineLR", "WarmupPolyLR"),
    ),
    Unread(
        ("SOLVER.POLY_LR_POWER", "SOLVER.POLY_LR_CONSTANT_ENDING"),
        "SOLVER.LR_SCHEDULER_NAME is not 'WarmupPolyLR'",
        lambda cfg: cfg.SOLVER.LR_SCHEDULER_NAME != "WarmupPolyLR",
    ),
    Unread(
        ("SOLVER.RESCALE_INTERVAL",),
        "SOLVER.LR_SCHEDULER_NAME is 'WarmupPolyLR'",
        lambda cfg: cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupPolyLR",
    ),
    Unread(
        ("SOLVER.BASE_LR_END",),
        "SOLVER.LR_SCHEDULER_NAME is not 'WarmupCosineLR'",
        lambda cfg: cfg.SOLVER.LR_SCHEDULER_NAME != "WarmupCosineLR",
    ),
    Unread(
        ("SOLVER.NUM_DECAYS",),
        "SOLVER.LR_SCHEDULER_NAME is not 'WarmupStepWithFixedGammaLR'",
        lambda cfg: cfg.SOLVER.LR_SCHEDULER_NAME != "WarmupStepWithFixedGammaLR",
    ),
    Unread(
        tuple(f"SOLVER.CLIP_GRADIENTS.{key}" for key in ("CLIP_TYPE", "CLIP_VALUE", "NORM_TYPE")),
        "SOLVER.CLIP_GRADIENTS.ENABLED is False",
        lambda cfg: not cfg.SOLVER.CLIP_GRADIENTS.ENABLED,
    ),
    Unread(
        ("SOLVER.AMP.DTYPE",),
        "SOLVER.AMP.ENABLED is False",
        lambda cfg: not cfg.SOLVER.AMP.ENABLED,
    ),
    Unread(
        ("TEST.AUG",),
        "each picture is predicted once, at INPUT.MIN_SIZE_TEST, without augmentation",
    ),
    Unread(("TEST.KEYPOINT_OKS_SIGMAS",), "nothing here learns keypoints"),
    Unread(
        ("TEST.PRECISE_BN.NUM_ITER",),
        "TEST.PRECISE_BN.ENABLED is False",
        lambda cfg: not cfg.TEST.PRECISE_BN.ENABLED,
    ),
    Unread(("VIS_PERIOD",), "use INPUT.PANEL_PERIOD for pictures of training samples"),
    Unread(("GLOBAL",), "nothing reads it"),
    Unread(
        (f"{FORMER_TEST}.RANKING_GAMMA",),
        f"{FORMER_TEST}.RANKING is not 'joint'",
        lambda cfg: cfg.MODEL.MASK_FORMER.TEST.RANKING != "joint",
    ),
    Unread(
        tuple(f"{FORMER_TEST}.{key}" for key in ("NMS_THRESHOLD", "NMS_SIGMA", "NMS_CLASS_AWARE")),
        f"{FORMER_TEST}.NMS is 'none'",
        lambda cfg: cfg.MODEL.MASK_FORMER.TEST.NMS == "none",
    ),
    Unread(
        tuple(
            f"{FORMER_TEST}.{key}"
            for key in ("OBJECT_MASK_THRESHOLD", "OVERLAP_THRESHOLD", "STUFF_CLASSES")
        ),
        f"{FORMER_TEST}.PANOPTIC_ON is False",
        lambda cfg: not cfg.MODEL.MASK_FORMER.TEST.PANOPTIC_ON,
    ),
)


def _plain(value: object) -> object:
    """Lists instead of tuples: a saved config comes back with lists inside of tuples."""
    return [_plain(part) for part in value] if is_list(value) else value


def covers(name: str, key: str) -> bool:
    """Whether a name of `Unread` means a key: the key itself, or a section around it."""
    return key == name or key.startswith(f"{name}.")


def keys_without_effect(cfg: CfgNode, defaults: CfgNode) -> list[str]:
    """What to say of the keys that a config sets and nothing reads; a text for each reason.

    What a model that is not this package's may read is not judged.

    Args:
        cfg: a checked config.
        defaults: the config that it was before any file or override.
    """
    before = dict(leaves(defaults))
    changed = [key for key, value in leaves(cfg) if _plain(value) != _plain(before.get(key))]
    if not (predicts_by_queries(cfg) or _of_regions(cfg)):
        changed = [key for key in changed if not covers("MODEL", key)]
    elif predicts_by_queries(cfg) and _of_another_head(cfg):
        changed = [key for key in changed if not covers("MODEL.SEM_SEG_HEAD", key)]
    texts = []
    for names, why, when in UNREAD:
        if when is not None and not when(cfg):
            continue
        keys = [key for key in changed if any(covers(name, key) for name in names)]
        if keys:
            changed = [key for key in changed if key not in keys]
            texts.append(f"{', '.join(keys)}: set, but without effect: {why}")
    return texts
