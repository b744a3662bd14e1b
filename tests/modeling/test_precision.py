"""bfloat16 autocast through the whole model, and torch.compile."""

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import Backbone
from tiny import ground_truth, random_image, rectangles, tiny_cfg, tiny_model
from torch import nn

from mask2former_mt.modeling import meta_arch
from mask2former_mt.ops.toolchain import cpu_toolchain
from mask2former_mt.structures import DecoderOutput

SIZE = (64, 96)


def inputs(count=2):
    """Pictures with two objects each."""
    masks = rectangles(*SIZE, [(5, 8, 40, 30), (50, 20, 90, 60)])
    instances = ground_truth(masks, [0, 2], [[1, 0], [3, 1]])
    return [
        {"image": random_image(*SIZE, seed=i), "height": SIZE[0], "width": SIZE[1]}
        | {"instances": instances}
        for i in range(count)
    ]


def outputs(model, batch, dtype=None) -> DecoderOutput:
    """The decoder's predictions of all layers, before any loss."""
    pixels = model.preprocess(batch).tensor
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=bool(dtype)):
        return model.sem_seg_head(model.backbone(pixels))


def test_bfloat16_is_near_float32():
    model, batch = tiny_model().eval(), inputs()
    rounded, exact = (
        (o.pred_logits, o.pred_masks, *o.pred_subcategories.values())
        for o in (outputs(model, batch, torch.bfloat16), outputs(model, batch))
    )
    # bfloat16 keeps 8 bits of a number, and a network of some dozen layers loses a few of them: on
    # average it may be off by a tenth of the logits' own spread.
    for one, other in zip(rounded, exact, strict=True):
        assert one.dtype == torch.bfloat16
        assert 0 < (one.float() - other).abs().mean() < 0.1 * other.std()


def test_bfloat16_predicts_in_float32():
    model = tiny_model().eval()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        instances = model(inputs(1))[0]["instances"]
    assert instances.scores.dtype == instances.subcategory_scores.dtype == torch.float32
    assert instances.pred_masks.dtype == torch.bool


def train_losses(model, steps=1):
    """Losses of some steps on one batch; the points are drawn from the same seed."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    history = []
    for _ in range(steps):
        torch.manual_seed(0)
        losses = model(inputs())
        history.append({name: loss.item() for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    return history


def test_amp_dtype_bfloat16_trains_near_float32():
    amp = {"SOLVER.AMP.ENABLED": True, "SOLVER.AMP.DTYPE": "bfloat16"}
    exact = train_losses(tiny_model().train())[0]
    history = train_losses(tiny_model(tiny_cfg(opts=amp)).train(), steps=10)
    for name, loss in exact.items():
        # Another bit may match another query: each loss within 5 %.
        assert history[0][name] == pytest.approx(loss, rel=0.05), name
    assert history[0] != exact
    assert sum(history[-1].values()) < 0.9 * sum(history[0].values())


class FourConvolutions(Backbone):
    """A backbone that is compiled within seconds; its frozen norms are folded."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList(
            Conv2d(c, 8, kernel_size=s, stride=s, bias=False, norm=FrozenBatchNorm2d(8))
            for c, s in ((3, 4), (8, 2), (8, 2), (8, 2))
        )

    def forward(self, x):
        maps = []
        for convolution in self.body:
            x = convolution(x)
            maps.append(x)
        return dict(zip(self.output_shape(), maps, strict=True))

    def output_shape(self):
        return {f"res{i}": ShapeSpec(channels=8, stride=2**i) for i in (2, 3, 4, 5)}


@pytest.mark.skipif(
    bool(cpu_toolchain().missing), reason=f"torch.compile: {cpu_toolchain().missing}"
)
def test_model_compile_changes_no_prediction_no_loss_and_no_name(monkeypatch):
    monkeypatch.setattr(meta_arch, "build_backbone", lambda cfg: FourConvolutions())
    opts = {"MODEL.MASK_FORMER.DEC_LAYERS": 2}
    plain, compiled = (
        tiny_model(tiny_cfg(opts={**opts, "MODEL.COMPILE": chosen})) for chosen in (False, True)
    )
    assert list(plain.state_dict()) == list(compiled.state_dict())
    expected, actual = outputs(plain.eval(), inputs()), outputs(compiled.eval(), inputs())
    torch.testing.assert_close(actual.pred_logits, expected.pred_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(actual.pred_masks, expected.pred_masks, atol=1e-3, rtol=1e-3)
    # The second step's losses show the first one's gradients.
    expected, actual = train_losses(plain.train(), 2), train_losses(compiled.train(), 2)
    for one, other in zip(actual, expected, strict=True):
        assert one == pytest.approx(other, rel=0.02)
