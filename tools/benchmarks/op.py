"""The deformable attention operator, on the shapes of the pixel decoder."""

from __future__ import annotations

import functools

import torch

from benchmarks.pairs import Settings, alternate, profile
from mask2former_mt.ops.ms_deform_attn import ms_deform_attn
from mask2former_mt.ops.ms_deform_attn_ref import ms_deform_attn_ref

HEADS, CHANNELS, POINTS = 8, 32, 4
STRIDES = (8, 16, 32)
# Offsets of a trained pixel decoder are some pixels long.
SPREAD_PIXELS = 2.0


def arguments(size: int, batch: int, device: str, dtype: torch.dtype):
    """The op's arguments in an encoder layer for square images: every position is a query."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(size // stride, size // stride) for stride in STRIDES]
    centres = [
        torch.cartesian_prod((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w).flip(1)
        for h, w in shapes
    ]
    reference = torch.cat(centres)[None, :, None, None, None]
    S, L = reference.shape[1], len(shapes)
    value = torch.randn(batch, S, HEADS, CHANNELS, generator=generator)
    offsets = torch.randn(batch, S, HEADS, L, POINTS, 2, generator=generator) * SPREAD_PIXELS
    sizes = torch.tensor([(w, h) for h, w in shapes])
    locations = reference + offsets / sizes[:, None]
    logits = torch.randn(batch, S, HEADS, L * POINTS, generator=generator)
    weights = logits.softmax(-1).view(batch, S, HEADS, L, POINTS)
    return value.to(device, dtype), shapes, locations.to(device), weights.to(device)


def run(settings: Settings) -> list[dict]:
    """Times forward, and forward with backward, for each size."""
    rows = []
    batch = settings.batch or 1
    for size in settings.sizes:
        value, shapes, locations, weights = arguments(
            size, batch, settings.device, settings.our_dtype
        )
        if settings.profile:
            call = functools.partial(ms_deform_attn, value, shapes, locations, weights)
            profile(call, settings.device)
            continue
        sides = {"ours": lambda v, a, w, s=shapes: ms_deform_attn(v, s, a, w)}
        if settings.peer("torch-ms-deform-attn"):
            sides["torch-ms-deform-attn"] = _their_op(shapes, settings.device)
        if settings.peer("reference"):
            sides["reference"] = lambda v, a, w, s=shapes: ms_deform_attn_ref(v, s, a, w)
        _check(sides, (value, locations, weights))
        forward, backward = {}, {}
        for name, function in sides.items():
            # The peers take one dtype for all tensors.
            dtype = settings.our_dtype if name == "ours" else settings.their_dtype
            exact = torch.float32 if name == "ours" else dtype
            inputs = [value.to(dtype), locations.to(exact), weights.to(exact)]
            forward[name] = _forward(function, inputs)
            backward[name] = _backward(function, inputs)
        for label, runs in (("forward", forward), ("forward + backward", backward)):
            ours = runs.pop("ours")
            case = f"{label}, {size}x{size}, batch {batch}, {settings.dtype}"
            rows += alternate("op", case, ours, runs, settings)
    return rows


def _their_op(shapes, device: str):
    from torch_ms_deform_attn import ms_deform_attn as theirs

    sizes = torch.tensor(shapes, device=device)
    areas = sizes.prod(1)
    starts = areas.cumsum(0) - areas
    return lambda v, a, w: theirs(v, sizes, starts, a, w, 64)


def _check(sides, inputs) -> None:
    """Checks that all sides that are timed give the same result."""
    v, a, w = (t.float() for t in inputs)
    with torch.no_grad():
        expected = sides["ours"](v, a, w)
        for function in sides.values():
            torch.testing.assert_close(function(v, a, w), expected, atol=1e-4, rtol=1e-4)


def _forward(function, inputs):
    def once():
        with torch.no_grad():
            function(*inputs)

    return once


def _backward(function, inputs):
    leaves = [t.clone().requires_grad_() for t in inputs]
    gradient = torch.randn_like(function(*inputs))

    def once():
        for leaf in leaves:
            leaf.grad = None
        function(*leaves).backward(gradient)

    return once
