"""Which queries become instances: their ranking, and what each says of class and labels."""

from __future__ import annotations

import dataclasses

import torch

from mask2former_mt.structures import DecoderOutput

# Q queries, K classes, S subcategories, N kept instances

RANKINGS = ("class", "joint", "sum")


@dataclasses.dataclass
class SelectedQueries:
    """The instances chosen from one image's queries, before their masks are resized.

    Args:
        queries: int64 (N,), which query each instance comes from.
        classes: int64 (N,).
        scores: float (N,) in [0, 1], what the instances are ranked by.
        class_scores: float (N,), probability of the class.
        subcategories: int64 (N, S), each in 0..K_s, predicted by the same query.
        subcategory_scores: float (N, S), probability of the predicted value.
    """

    queries: torch.Tensor
    classes: torch.Tensor
    scores: torch.Tensor
    class_scores: torch.Tensor
    subcategories: torch.Tensor
    subcategory_scores: torch.Tensor

    def __getitem__(self, which: torch.Tensor) -> SelectedQueries:
        """Some of the instances, by indices or a bool mask (N,)."""
        fields = dataclasses.fields(self)
        return SelectedQueries(**{f.name: getattr(self, f.name)[which] for f in fields})


def select_queries(
    output: DecoderOutput,
    image: int,
    *,
    top_k: int,
    ranking: str = "class",
    gamma: float = 1.0,
    one_class_per_query: bool = False,
) -> SelectedQueries:
    """Takes the `top_k` best (query, class) pairs of an image.

    Args:
        output: the decoder's predictions for the batch.
        image: index in the batch.
        top_k: at most so many instances.
        ranking: what is best, with p the class's probability and p_s that of each subcategory's
            predicted value: "class" p, "joint" p times the product of p_s to the power of gamma,
            "sum" the mean of p and all p_s, which ranks as their sum and stays in [0, 1].
        gamma: at least 0; of "joint".
        one_class_per_query: only a query's best class; else a query may give several instances.

    Returns:
        The instances, best first.

    Raises:
        ValueError: another ranking.

    Source: with the defaults Mask2Former's published instance inference.
    """
    if ranking not in RANKINGS:
        raise ValueError(f"ranking must be one of {list(RANKINGS)}, got {ranking!r}")
    class_probs_QK = output.pred_logits[image].float().softmax(-1)[:, :-1]
    values, value_scores = [], []
    for logits in output.pred_subcategories.values():
        best = logits[image].float().softmax(-1).max(-1)
        values.append(best.indices)
        value_scores.append(best.values)
    num_queries, num_classes = class_probs_QK.shape
    empty = (num_queries, 0)
    values_QS = torch.stack(values, 1) if values else class_probs_QK.new_zeros(empty).long()
    scores_QS = torch.stack(value_scores, 1) if values else class_probs_QK.new_zeros(empty)

    rank_QK = class_probs_QK
    if one_class_per_query:
        rank_QK, best_classes = rank_QK.max(1, keepdim=True)
    if ranking == "joint":
        rank_QK = rank_QK * scores_QS.prod(1, keepdim=True) ** gamma
    elif ranking == "sum":
        rank_QK = (rank_QK + scores_QS.sum(1, keepdim=True)) / (1 + scores_QS.shape[1])
    scores, flat = rank_QK.flatten().topk(min(top_k, rank_QK.numel()))
    if one_class_per_query:
        queries, classes = flat, best_classes[flat, 0]
    else:
        queries, classes = flat // num_classes, flat % num_classes
    return SelectedQueries(
        queries=queries,
        classes=classes,
        scores=scores,
        class_scores=class_probs_QK[queries, classes],
        subcategories=values_QS[queries],
        subcategory_scores=scores_QS[queries],
    )


def require_finite(image: int, *probs: torch.Tensor) -> None:
    """Refuses what a diverged model predicts.

    Args:
        image: index in the batch, for the error.
        probs: of classes and values.

    Raises:
        ValueError: one is not finite.
    """
    if not all(p.isfinite().all() for p in probs):
        raise ValueError(
            f"the class or subcategory logits of image {image} of the batch are not finite; the "
            "weights may hold NaN, check that training did not diverge"
        )
