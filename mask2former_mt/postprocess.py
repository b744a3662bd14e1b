"""Queries to instances: pure functions on tensors."""

from __future__ import annotations

import dataclasses

import torch

from mask2former_mt.structures import DecoderOutput

# Q queries, K classes, S subcategories, N kept instances


@dataclasses.dataclass
class SelectedQueries:
    """The instances chosen from one image's queries, before their masks are resized.

    Args:
        queries: int64 (N,), which query each instance comes from.
        classes: int64 (N,).
        class_scores: float (N,), probability of the class.
        subcategories: int64 (N, S), each in 0..K_s, predicted by the same query.
        subcategory_scores: float (N, S), probability of the predicted value.
    """

    queries: torch.Tensor
    classes: torch.Tensor
    class_scores: torch.Tensor
    subcategories: torch.Tensor
    subcategory_scores: torch.Tensor


def select_queries(output: DecoderOutput, image: int, *, top_k: int) -> SelectedQueries:
    """Takes the `top_k` best (query, class) pairs of an image; a query may give several classes.

    Args:
        output: the decoder's predictions for the batch.
        image: index in the batch.
        top_k: at most so many instances.

    Returns:
        The instances, best class score first.

    Source: Mask2Former's published instance inference.
    """
    probs = output.pred_logits[image].float().softmax(-1)[:, :-1]
    num_classes = probs.shape[1]
    scores, flat = probs.flatten().topk(min(top_k, probs.numel()))
    queries = flat // num_classes
    values, value_scores = [], []
    for logits in output.pred_subcategories.values():
        best = logits[image].float().softmax(-1)[queries].max(-1)
        values.append(best.indices)
        value_scores.append(best.values)
    empty = (len(queries), 0)
    return SelectedQueries(
        queries=queries,
        classes=flat % num_classes,
        class_scores=scores,
        subcategories=torch.stack(values, 1) if values else queries.new_zeros(empty),
        subcategory_scores=torch.stack(value_scores, 1) if values else scores.new_zeros(empty),
    )
