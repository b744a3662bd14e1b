"""A training step on a GPU waits for it once: when the matcher's costs come to the host."""

import warnings

import pytest
import torch
from tiny import ground_truth, random_image, rectangles, tiny_cfg, tiny_model


@pytest.mark.cuda
def test_a_training_step_waits_for_the_device_once():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cfg = tiny_cfg(opts={"MODEL.DEVICE": "cuda", "MODEL.TIMM.NORM": "FrozenBN"})
    model = tiny_model(cfg).train()
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True
    )
    masks = rectangles(64, 96, [(5, 8, 40, 30), (50, 20, 90, 60)])
    batch = [
        {"image": random_image(64, 96, seed=i), "height": 64, "width": 96}
        | {"instances": ground_truth(masks, [0, 2], [[1, 0], [3, 1]])}
        for i in range(2)
    ]

    def step():
        loss = sum(model(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    # What depends on the shapes alone is made, and copied, at the first step.
    step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(w.message) for w in caught if "synchronizing" in str(w.message)]
    assert len(waits) == 1, waits
