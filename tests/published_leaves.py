"""The published configs of Mask2Former for pictures, by the keys in which they differ.

Source: the folder `configs` of facebookresearch/Mask2Former, 47 leaves. Keys and values are theirs,
their arrangement is not: there each leaf names a base and an R50 leaf, here each is put together
from a task and a backbone.
"""

from __future__ import annotations

from pathlib import Path

import yaml

R50, R101 = "R50", "R101"
TINY, SMALL, BASE, BASE_21K, LARGE = (
    *("swin_tiny", "swin_small", "swin_base_384", "swin_base_IN21k_384"),
    "swin_large_IN21k_384",
)
_SEVEN = (R50, R101, TINY, SMALL, BASE, BASE_21K, LARGE)
_SIX = (R50, R101, TINY, SMALL, BASE_21K, LARGE)
BACKBONES_OF = {
    "coco/instance": _SEVEN,
    "coco/panoptic": _SEVEN,
    "ade20k/instance": (R50, LARGE),
    "ade20k/panoptic": (R50, LARGE),
    "ade20k/semantic": _SEVEN,
    "cityscapes/instance": _SIX,
    "cityscapes/panoptic": _SIX,
    "cityscapes/semantic": _SIX,
    "mapillary-vistas/panoptic": (R50, LARGE),
    "mapillary-vistas/semantic": (R50, LARGE),
}
LEAVES = [(task, backbone) for task, names in BACKBONES_OF.items() for backbone in names]

_ALL = ("INSTANCE_ON", "SEMANTIC_ON", "PANOPTIC_ON")
# By task: classes, datasets (train, test), mapper, outputs.
_TASKS = {
    "coco/instance": (
        *(80, ("coco_2017_train", "coco_2017_val")),
        *("coco_instance_lsj", _ALL[:1]),
    ),
    "coco/panoptic": (
        *(133, ("coco_2017_train_panoptic", "coco_2017_val_panoptic_with_sem_seg")),
        *("coco_panoptic_lsj", _ALL),
    ),
    # As published: the panoptic output is on beside instances, which are all that is learned.
    "ade20k/instance": (
        *(100, ("ade20k_instance_train", "ade20k_instance_val")),
        *("mask_former_instance", _ALL),
    ),
    "ade20k/panoptic": (
        *(150, ("ade20k_panoptic_train", "ade20k_panoptic_val")),
        *("mask_former_panoptic", _ALL),
    ),
    "ade20k/semantic": (
        *(150, ("ade20k_sem_seg_train", "ade20k_sem_seg_val")),
        *("mask_former_semantic", _ALL[1:2]),
    ),
    "cityscapes/instance": (
        *(8, ("cityscapes_fine_instance_seg_train", "cityscapes_fine_instance_seg_val")),
        *("mask_former_instance", _ALL[:1]),
    ),
    "cityscapes/panoptic": (
        *(19, ("cityscapes_fine_panoptic_train", "cityscapes_fine_panoptic_val")),
        *("mask_former_panoptic", _ALL),
    ),
    "cityscapes/semantic": (
        *(19, ("cityscapes_fine_sem_seg_train", "cityscapes_fine_sem_seg_val")),
        *("mask_former_semantic", _ALL[1:2]),
    ),
    "mapillary-vistas/panoptic": (
        *(65, ("mapillary_vistas_panoptic_train", "mapillary_vistas_panoptic_val")),
        *("mask_former_panoptic", _ALL[1:]),
    ),
    "mapillary-vistas/semantic": (
        *(65, ("mapillary_vistas_sem_seg_train", "mapillary_vistas_sem_seg_val")),
        *("mask_former_semantic", _ALL[1:2]),
    ),
}
# By dataset: the shorter side in tests, the longer in training and tests, the crop, the multiple
# that the mapper pads to, iterations.
_SIZES = {
    "ade20k": (640, 2560, 2560, (640, 640), 640, 160_000),
    "cityscapes": (1024, 4096, 2048, (512, 1024), -1, 90_000),
    "mapillary-vistas": (2048, 8192, 2048, (1024, 1024), 1024, 300_000),
}
_SMALL_ADE20K = (512, 2048, 2048, (512, 512), 512, 160_000)
# By backbone: weights, and EMBED_DIM, DEPTHS, NUM_HEADS, WINDOW_SIZE, PRETRAIN_IMG_SIZE.
_SWINS = {
    TINY: ("swin_tiny_patch4_window7_224.pkl", 96, [2, 2, 6, 2], [3, 6, 12, 24], 7, 224),
    SMALL: ("swin_small_patch4_window7_224.pkl", 96, [2, 2, 18, 2], [3, 6, 12, 24], 7, 224),
    BASE: ("swin_base_patch4_window12_384.pkl", 128, [2, 2, 18, 2], [4, 8, 16, 32], 12, 384),
    BASE_21K: (
        *("swin_base_patch4_window12_384_22k.pkl", 128, [2, 2, 18, 2], [4, 8, 16, 32], 12, 384),
    ),
    LARGE: (
        *("swin_large_patch4_window12_384_22k.pkl", 192, [2, 2, 18, 2], [6, 12, 24, 48], 12, 384),
    ),
}


def outputs_of(task: str) -> set[str]:
    """What a model of this task predicts."""
    keys = {"INSTANCE_ON": "instances", "SEMANTIC_ON": "sem_seg", "PANOPTIC_ON": "panoptic_seg"}
    return {keys[switch] for switch in _TASKS[task][3]}


def write_leaf(folder: Path, task: str, backbone: str) -> Path:
    """Writes a leaf `leaf.yaml` and its base, as published: the sizes of training as Python code.

    Returns:
        The leaf.
    """
    data = task.split("/")[0]
    sizes = _SIZES.get(data)
    if task == "ade20k/semantic" and backbone in (R50, R101, TINY, SMALL):
        sizes = _SMALL_ADE20K
    base = _base(task, sizes)
    text = yaml.safe_dump(base)
    if sizes is not None:
        expression = f'["[int(x * 0.1 * {sizes[0]}) for x in range(5, 21)]"]'
        text = text.replace("SIZES_AS_CODE", f"!!python/object/apply:eval {expression}")
    (folder / "base.yaml").write_text(text, encoding="utf-8")
    leaf = {"_BASE_": "base.yaml", "MODEL": _model(task, backbone)}
    if data == "coco" and backbone == LARGE:
        leaf["SOLVER"] = {"STEPS": "(655556, 710184)", "MAX_ITER": 737_500}
    path = folder / "leaf.yaml"
    path.write_text(yaml.safe_dump(leaf), encoding="utf-8")
    return path


def _base(task: str, sizes: tuple | None) -> dict:
    _, (train, test), mapper, _ = _TASKS[task]
    resnet = {
        "DEPTH": 50,
        "STEM_TYPE": "basic",
        "STEM_OUT_CHANNELS": 64,
        "STRIDE_IN_1X1": False,
        "OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        "RES5_MULTI_GRID": [1, 1, 1],
    }
    if task.startswith("cityscapes"):
        resnet["NORM"] = "SyncBN"
    solver = {
        "IMS_PER_BATCH": 16,
        "BASE_LR": 0.0001,
        "WARMUP_FACTOR": 1.0,
        "WEIGHT_DECAY": 0.05,
        "OPTIMIZER": "ADAMW",
        "BACKBONE_MULTIPLIER": 0.1,
        "CLIP_GRADIENTS": {
            "ENABLED": True,
            "CLIP_TYPE": "full_model",
            "CLIP_VALUE": 0.01,
            "NORM_TYPE": 2.0,
        },
        "AMP": {"ENABLED": True},
    }
    pictures = {"FORMAT": "RGB", "DATASET_MAPPER_NAME": mapper}
    if sizes is None:
        solver |= {"STEPS": "(327778, 355092)", "MAX_ITER": 368_750, "WARMUP_ITERS": 10}
        pictures |= {"IMAGE_SIZE": 1024, "MIN_SCALE": 0.1, "MAX_SCALE": 2.0}
    else:
        shorter, longest_in_training, longest, crop, multiple, iterations = sizes
        solver |= {"MAX_ITER": iterations, "WARMUP_ITERS": 0, "LR_SCHEDULER_NAME": "WarmupPolyLR"}
        pictures |= {
            "MIN_SIZE_TRAIN": "SIZES_AS_CODE",
            "MIN_SIZE_TRAIN_SAMPLING": "choice",
            "MIN_SIZE_TEST": shorter,
            "MAX_SIZE_TRAIN": longest_in_training,
            "MAX_SIZE_TEST": longest,
            "CROP": {
                "ENABLED": True,
                "TYPE": "absolute",
                "SIZE": str(crop),
                "SINGLE_CATEGORY_MAX_AREA": 1.0,
            },
            "COLOR_AUG_SSD": True,
            "SIZE_DIVISIBILITY": multiple,
        }
    evaluation = {"EVAL_PERIOD": 0 if task.startswith("mapillary") else 5000}
    if task.startswith(("ade20k", "cityscapes")):
        shorter = sizes[0]
        evaluation["AUG"] = {
            "ENABLED": False,
            "MIN_SIZES": [shorter * quarters // 4 for quarters in range(2, 8)],
            "MAX_SIZE": shorter * (7 if task.startswith("ade20k") else 4),
            "FLIP": True,
        }
    return {
        "VERSION": 2,
        "MODEL": {
            "BACKBONE": {"FREEZE_AT": 0, "NAME": "build_resnet_backbone"},
            "WEIGHTS": "detectron2://ImageNetPretrained/torchvision/R-50.pkl",
            "PIXEL_MEAN": [123.675, 116.280, 103.530],
            "PIXEL_STD": [58.395, 57.120, 57.375],
            "RESNETS": resnet,
        },
        "DATASETS": {"TRAIN": f'("{train}",)', "TEST": f'("{test}",)'},
        "SOLVER": solver,
        "INPUT": pictures,
        "TEST": evaluation,
        "DATALOADER": {"FILTER_EMPTY_ANNOTATIONS": True, "NUM_WORKERS": 4},
    }


def _model(task: str, backbone: str) -> dict:
    classes, _, _, switches = _TASKS[task]
    of_mapillary = task.startswith("mapillary")
    model = {
        "META_ARCHITECTURE": "MaskFormer",
        "SEM_SEG_HEAD": {
            "NAME": "MaskFormerHead",
            "IGNORE_VALUE": 65 if of_mapillary else 255,
            "NUM_CLASSES": classes,
            "LOSS_WEIGHT": 1.0,
            "CONVS_DIM": 256,
            "MASK_DIM": 256,
            "NORM": "GN",
            "PIXEL_DECODER_NAME": "MSDeformAttnPixelDecoder",
            "IN_FEATURES": ["res2", "res3", "res4", "res5"],
            "DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": ["res3", "res4", "res5"],
            "COMMON_STRIDE": 4,
            "TRANSFORMER_ENC_LAYERS": 6,
        },
        "MASK_FORMER": {
            "TRANSFORMER_DECODER_NAME": "MultiScaleMaskedTransformerDecoder",
            "TRANSFORMER_IN_FEATURE": "multi_scale_pixel_decoder",
            "DEEP_SUPERVISION": True,
            "NO_OBJECT_WEIGHT": 0.1,
            "CLASS_WEIGHT": 2.0,
            "MASK_WEIGHT": 5.0,
            "DICE_WEIGHT": 5.0,
            "HIDDEN_DIM": 256,
            "NUM_OBJECT_QUERIES": 100,
            "NHEADS": 8,
            "DROPOUT": 0.0,
            "DIM_FEEDFORWARD": 2048,
            "ENC_LAYERS": 0,
            "PRE_NORM": False,
            "ENFORCE_INPUT_PROJ": False,
            "SIZE_DIVISIBILITY": 32,
            "DEC_LAYERS": 10,
            "TRAIN_NUM_POINTS": 12544,
            "OVERSAMPLE_RATIO": 3.0,
            "IMPORTANCE_SAMPLE_RATIO": 0.75,
            "TEST": {
                **{switch: switch in switches for switch in _ALL},
                "OVERLAP_THRESHOLD": 0.8,
                "OBJECT_MASK_THRESHOLD": 0.0 if of_mapillary else 0.8,
            },
        },
    }
    if backbone == R101:
        model |= {"WEIGHTS": "R-101.pkl", "RESNETS": {"DEPTH": 101}}
        if task == "ade20k/semantic":
            model["RESNETS"]["NORM"] = "SyncBN"
    if backbone in _SWINS:
        weights, width, depths, heads, window, size = _SWINS[backbone]
        model |= {
            "WEIGHTS": weights,
            "BACKBONE": {"NAME": "D2SwinTransformer"},
            "SWIN": {
                "EMBED_DIM": width,
                "DEPTHS": depths,
                "NUM_HEADS": heads,
                "WINDOW_SIZE": window,
                "APE": False,
                "DROP_PATH_RATE": 0.3,
                "PATCH_NORM": True,
                "PRETRAIN_IMG_SIZE": size,
            },
        }
    if backbone == LARGE and not task.endswith("semantic"):
        model["MASK_FORMER"]["NUM_OBJECT_QUERIES"] = 200
    return model
