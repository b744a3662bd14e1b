"""Folders as transformers' `save_pretrained` writes them, read and written without transformers."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Mapping

import torch
from detectron2.config import CfgNode
from safetensors.torch import load_file, save_file

from mask2former_mt.config.config_nodes import value_of
from mask2former_mt.engine.convert_weights import from_transformers, to_transformers
from mask2former_mt.files import write_json
from mask2former_mt.label_lists import Labels

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
# Where the tensors are, if in several files.
_INDEX_FILE = f"{WEIGHTS_FILE}.index.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
_ARCHITECTURE = "Mask2FormerForUniversalSegmentation"
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_FEATURES = ["res2", "res3", "res4", "res5"]
# What transformers calls classes that nobody has named.
_UNNAMED = re.compile(r"LABEL_\d+")

# (transformers' name, our config key)
_KEYS = (
    ("feature_size", "MODEL.SEM_SEG_HEAD.CONVS_DIM"),
    ("mask_feature_size", "MODEL.SEM_SEG_HEAD.MASK_DIM"),
    ("common_stride", "MODEL.SEM_SEG_HEAD.COMMON_STRIDE"),
    ("encoder_layers", "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS"),
    (
        "encoder_feedforward_dim",
        "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_DIM_FEEDFORWARD",
    ),
    ("hidden_dim", "MODEL.MASK_FORMER.HIDDEN_DIM"),
    ("dim_feedforward", "MODEL.MASK_FORMER.DIM_FEEDFORWARD"),
    ("num_attention_heads", "MODEL.MASK_FORMER.NHEADS"),
    ("decoder_layers", "MODEL.MASK_FORMER.DEC_LAYERS"),
    ("num_queries", "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES"),
    ("dropout", "MODEL.MASK_FORMER.DROPOUT"),
    ("pre_norm", "MODEL.MASK_FORMER.PRE_NORM"),
    ("enforce_input_projection", "MODEL.MASK_FORMER.ENFORCE_INPUT_PROJ"),
    ("no_object_weight", "MODEL.MASK_FORMER.NO_OBJECT_WEIGHT"),
    ("class_weight", "MODEL.MASK_FORMER.CLASS_WEIGHT"),
    ("mask_weight", "MODEL.MASK_FORMER.MASK_WEIGHT"),
    ("dice_weight", "MODEL.MASK_FORMER.DICE_WEIGHT"),
    ("train_num_points", "MODEL.MASK_FORMER.TRAIN_NUM_POINTS"),
    ("oversample_ratio", "MODEL.MASK_FORMER.OVERSAMPLE_RATIO"),
    ("importance_sample_ratio", "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO"),
    ("use_auxiliary_loss", "MODEL.MASK_FORMER.DEEP_SUPERVISION"),
)
_SWIN_KEYS = (
    ("embed_dim", "EMBED_DIM"),
    ("depths", "DEPTHS"),
    ("num_heads", "NUM_HEADS"),
    ("window_size", "WINDOW_SIZE"),
    ("patch_size", "PATCH_SIZE"),
    ("image_size", "PRETRAIN_IMG_SIZE"),
    ("mlp_ratio", "MLP_RATIO"),
    ("qkv_bias", "QKV_BIAS"),
    ("drop_path_rate", "DROP_PATH_RATE"),
    ("hidden_dropout_prob", "DROP_RATE"),
    ("attention_probs_dropout_prob", "ATTN_DROP_RATE"),
)
_RESNET_DEPTHS = {50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}
# What transformers' model fixes: our key, and its value there.
_FIXED = (
    ("MODEL.SEM_SEG_HEAD.IN_FEATURES", _FEATURES),
    ("MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES", _FEATURES[1:]),
    ("MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS", 4),
    ("MODEL.SEM_SEG_HEAD.NORM", "GN"),
    ("INPUT.FORMAT", "RGB"),
)


def is_of_transformers(names: Mapping[str, object]) -> bool:
    """Whether tensors have transformers' names, not ours."""
    return any(name.startswith("model.pixel_level_module.") for name in names)


def read_folder(folder: pathlib.Path) -> dict:
    """Weights by our names and, where the folder names its classes, the record of labels.

    Raises:
        FileNotFoundError: a file that the folder lacks.
        ValueError: it is of another model.
    """
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    if config.get("model_type") != "mask2former":
        raise ValueError(
            f"{folder / CONFIG_FILE} must be of a model_type 'mask2former', got "
            f"{config.get('model_type')!r}"
        )
    checkpoint = {"model": from_transformers(_read_tensors(folder))}
    by_number = {int(number): name for number, name in config.get("id2label", {}).items()}
    names = [by_number[number] for number in sorted(by_number)]
    if names and not all(_UNNAMED.fullmatch(name) for name in names):
        checkpoint["dataset"] = {
            "thing_classes": names,
            "category_ids": config.get("category_ids", [n + 1 for n in range(len(names))]),
            "subcategories": config.get("subcategories", []),
        }
    return checkpoint


def _read_tensors(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    index, older = folder / _INDEX_FILE, folder / "pytorch_model.bin"
    if index.is_file():
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return {k: v for shard in sorted(shards) for k, v in load_file(folder / shard).items()}
    if (folder / WEIGHTS_FILE).is_file():
        return load_file(folder / WEIGHTS_FILE)
    if older.is_file():
        return torch.load(older, map_location="cpu", weights_only=True)
    raise FileNotFoundError(f"{folder} must hold {WEIGHTS_FILE}, {index.name} or {older.name}")


def write_folder(
    folder: pathlib.Path, model: Mapping[str, torch.Tensor], cfg: CfgNode, labels: Labels
) -> None:
    """Writes config.json, model.safetensors and preprocessor_config.json for `from_pretrained`.

    Subcategory heads and their names travel along: transformers ignores them, and `read_folder`
    reads them back.

    Args:
        folder: made if it is not there.
        model: state dict by our names.
        cfg: config of the model.
        labels: of its outputs.

    Raises:
        ValueError: a model that transformers does not have.
    """
    content = config_json(cfg, labels)
    tensors = {name: tensor.contiguous() for name, tensor in to_transformers(model).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    write_json(folder / PREPROCESSOR_FILE, preprocessor_json(cfg, len(labels.class_names)))
    write_json(folder / CONFIG_FILE, content)


def config_json(cfg: CfgNode, labels: Labels) -> dict:
    """transformers' config of a model; see `write_folder`."""
    for key, expected in _FIXED:
        value = value_of(cfg, key)
        if value != expected:
            raise ValueError(
                f"{key} must be {expected!r} for a model of transformers, got {value!r}"
            )
    heads = cfg.MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS
    if heads != cfg.MODEL.MASK_FORMER.NHEADS:
        raise ValueError(
            "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS must be "
            f"MODEL.MASK_FORMER.NHEADS for a model of transformers, got {heads} and "
            f"{cfg.MODEL.MASK_FORMER.NHEADS}"
        )
    names = dict(enumerate(labels.class_names))
    return {
        "architectures": [_ARCHITECTURE],
        "model_type": "mask2former",
        "backbone_config": _backbone_json(cfg),
        **{theirs: value_of(cfg, ours) for theirs, ours in _KEYS},
        "activation_function": "relu",
        "feature_strides": [4, 8, 16, 32],
        "ignore_value": 255,
        "id2label": {str(number): name for number, name in names.items()},
        "label2id": {name: number for number, name in names.items()},
        "category_ids": list(labels.category_ids),
        "subcategories": labels.spec.to_json(),
    }


def _backbone_json(cfg: CfgNode) -> dict:
    name = cfg.MODEL.BACKBONE.NAME
    if name == "D2SwinTransformer":
        swin = cfg.MODEL.SWIN
        if swin.APE or not swin.PATCH_NORM or swin.QK_SCALE is not None:
            raise ValueError(
                "MODEL.SWIN.APE must be False, PATCH_NORM True and QK_SCALE None for a model of "
                f"transformers, got {swin.APE}, {swin.PATCH_NORM} and {swin.QK_SCALE}"
            )
        values = {theirs: swin[ours] for theirs, ours in _SWIN_KEYS}
        return {"model_type": "swin", **values, "out_features": _STAGES}
    resnet = cfg.MODEL.RESNETS
    if name != "build_resnet_backbone" or resnet.DEPTH not in _RESNET_DEPTHS:
        raise ValueError(
            "a model of transformers needs the backbone D2SwinTransformer or build_resnet_backbone "
            f"of depth {[*_RESNET_DEPTHS]}, got {name}"
            + (f" of depth {resnet.DEPTH}" if name == "build_resnet_backbone" else "")
        )
    return {
        "model_type": "resnet",
        "layer_type": "bottleneck",
        "depths": _RESNET_DEPTHS[resnet.DEPTH],
        "embedding_size": resnet.STEM_OUT_CHANNELS,
        "hidden_sizes": [resnet.RES2_OUT_CHANNELS * 2**stage for stage in range(4)],
        "downsample_in_bottleneck": resnet.STRIDE_IN_1X1,
        "out_features": _STAGES,
    }


def preprocessor_json(cfg: CfgNode, num_classes: int) -> dict:
    """transformers' description of how pictures are resized and normalised."""
    return {
        "image_processor_type": "Mask2FormerImageProcessor",
        "do_resize": cfg.INPUT.MIN_SIZE_TEST > 0,
        "size": {
            "shortest_edge": cfg.INPUT.MIN_SIZE_TEST,
            "longest_edge": cfg.INPUT.MAX_SIZE_TEST,
        },
        "size_divisor": max(cfg.MODEL.MASK_FORMER.SIZE_DIVISIBILITY, 32),
        "resample": 2,  # bilinear
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [value / 255 for value in cfg.MODEL.PIXEL_MEAN],
        "image_std": [value / 255 for value in cfg.MODEL.PIXEL_STD],
        "do_reduce_labels": False,
        "ignore_index": 255,
        "num_labels": num_classes,
    }


def config_overrides(folder: pathlib.Path) -> dict[str, object]:
    """Our config keys that make the model of a transformers folder.

    Raises:
        ValueError: a backbone that this package does not have.
    """
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    keys = {ours: config[theirs] for theirs, ours in _KEYS if theirs in config}
    keys |= dict(_FIXED)
    heads = "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS"
    keys[heads] = config["num_attention_heads"]
    backbone = config["backbone_config"]
    if backbone["model_type"] == "swin":
        keys["MODEL.BACKBONE.NAME"] = "D2SwinTransformer"
        keys |= {f"MODEL.SWIN.{ours}": backbone[t] for t, ours in _SWIN_KEYS if t in backbone}
    elif backbone["model_type"] == "resnet" and backbone["depths"] in _RESNET_DEPTHS.values():
        depth = next(d for d, depths in _RESNET_DEPTHS.items() if depths == backbone["depths"])
        keys |= {
            "MODEL.BACKBONE.NAME": "build_resnet_backbone",
            "MODEL.RESNETS.DEPTH": depth,
            "MODEL.RESNETS.OUT_FEATURES": _FEATURES,
            "MODEL.RESNETS.STRIDE_IN_1X1": backbone.get("downsample_in_bottleneck", False),
        }
    else:
        raise ValueError(
            f"{folder / CONFIG_FILE}: its backbone must be a Swin, or a ResNet of depth "
            f"{[*_RESNET_DEPTHS]}, got {backbone['model_type']!r}"
        )
    return keys
