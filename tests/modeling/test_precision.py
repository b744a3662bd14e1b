"""bfloat16 autocast through the whole model, and torch.compile."""

import pytest
import torch
from tiny import ground_truth, random_image, rectangles, tiny_cfg, tiny_model

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


# bfloat16 keeps 8 bits of a number, and a network of some dozen layers loses a few of them. What is
# compared, and the share of its own spread (standard deviation) that it may be off, on average.
BFLOAT16 = {"class logits": 0.1, "mask logits": 0.1, "subcategory logits": 0.1}


def test_bfloat16_is_near_float32():
    model = tiny_model().eval()
    batch = inputs()
    exact, rounded = outputs(model, batch), outputs(model, batch, torch.bfloat16)
    pairs = {
        "class logits": (rounded.pred_logits, exact.pred_logits),
        "mask logits": (rounded.pred_masks, exact.pred_masks),
        "subcategory logits": (
            rounded.pred_subcategories["colour"],
            exact.pred_subcategories["colour"],
        ),
    }
    for name, (one, other) in pairs.items():
        assert one.dtype == torch.bfloat16, name
        error = (one.float() - other).abs().mean() / other.std()
        assert 0 < error < BFLOAT16[name], f"{name}: {error}"


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


needs_compiler = pytest.mark.skipif(
    bool(cpu_toolchain().missing), reason=f"torch.compile: {cpu_toolchain().missing}"
)


@needs_compiler
def test_model_compile_changes_no_prediction_and_no_name():
    plain, compiled = tiny_model(), tiny_model(tiny_cfg(opts={"MODEL.COMPILE": True}))
    assert list(plain.state_dict()) == list(compiled.state_dict())
    compiled.load_state_dict(plain.state_dict())
    expected, actual = outputs(plain.eval(), inputs()), outputs(compiled.eval(), inputs())
    torch.testing.assert_close(actual.pred_logits, expected.pred_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(actual.pred_masks, expected.pred_masks, atol=1e-3, rtol=1e-3)


@needs_compiler
def test_model_compile_trains():
    opts = {"MODEL.COMPILE": True, "MODEL.TIMM.NORM": "FrozenBN"}
    plain = train_losses(tiny_model(tiny_cfg(opts={"MODEL.TIMM.NORM": "FrozenBN"})).train(), 3)
    compiled = train_losses(tiny_model(tiny_cfg(opts=opts)).train(), 3)
    for one, other in zip(compiled, plain, strict=True):
        assert one == pytest.approx(other, rel=0.02)
