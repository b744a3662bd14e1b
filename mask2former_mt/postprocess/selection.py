"""Which queries become instances, by a ranking, with their classes and labels."""

from __future__ import annotations

import dataclasses

import torch

from mask2former_mt.postprocess.applicable_labels import none_elsewhere
from mask2former_mt.structures import DecoderOutput

# Q queries, K classes, S subcategories, N kept instances

# What instances are ranked by. With p the class's probability and p_s that of each subcategory's
# predicted value: "class" takes p; "joint" p times the product of all p_s to the power of gamma;
# "sum" the mean of p and all p_s, which ranks as their sum does and stays in [0, 1]. Only the
# subcategories that the class has take part.
RANKINGS = ("class", "joint", "sum")


@dataclasses.dataclass
class SelectedQueries:
    """The instances chosen from one image's queries, before their masks are resized.

    Args:
        queries: int64 (N,), the query that the instance comes from.
        classes: int64 (N,).
        scores: float (N,) in [0, 1], ranking score.
        class_scores: float (N,), probability of the class.
        subcategories: int64 (N, S), each in 0..K_s, predicted by the same query.
        subcategory_scores: float (N, S), probability of the predicted value.
        applies: bool (N, S), whether the class has the subcategory; else the value is none, with
            probability 1.
    """

    queries: torch.Tensor
    classes: torch.Tensor
    scores: torch.Tensor
    class_scores: torch.Tensor
    subcategories: torch.Tensor
    subcategory_scores: torch.Tensor
    applies: torch.Tensor

    def __getitem__(self, which: torch.Tensor) -> SelectedQueries:
        """Some of the instances, by int64 indices or a bool mask (N,)."""
        fields = dataclasses.fields(self)
        return SelectedQueries(**{f.name: getattr(self, f.name)[which] for f in fields})


def select_queries(
    output: DecoderOutput,
    index: int,
    *,
    top_k: int,
    ranking: str = "class",
    gamma: float = 1.0,
    one_class_per_query: bool = False,
    applies_KS: torch.Tensor | None = None,
) -> SelectedQueries:
    """Takes the `top_k` best (query, class) pairs of an image.

    Args:
        output: the decoder's predictions for the batch.
        index: image index in the batch.
        top_k: largest number of instances.
        ranking: one of `RANKINGS`.
        gamma: exponent of the subcategories in the ranking "joint", at least 0.
        one_class_per_query: whether a query gives one instance, of its best class; else it may give
            one of each class.
        applies_KS: bool, which class has which subcategory; None: all have all. Rankings take those
            that the class has.

    Returns:
        The instances, best first.

    Raises:
        ValueError: another ranking.

    Source: with the defaults Mask2Former's published instance inference.
    """
    if ranking not in RANKINGS:
        raise ValueError(f"ranking must be one of {list(RANKINGS)}, got {ranking!r}")
    class_probs_QK = output.pred_logits[index].float().softmax(-1)[:, :-1]
    values, value_scores, none = [], [], []
    for logits in output.pred_subcategories.values():
        best = logits[index].float().softmax(-1).max(-1)
        values.append(best.indices)
        value_scores.append(best.values)
        none.append(logits.shape[-1] - 1)
    num_queries, num_classes = class_probs_QK.shape
    empty = (num_queries, 0)
    values_QS = torch.stack(values, 1) if values else class_probs_QK.new_zeros(empty).long()
    scores_QS = torch.stack(value_scores, 1) if values else class_probs_QK.new_zeros(empty)

    if applies_KS is None:
        applies_KS = torch.ones((1, len(values)), dtype=torch.bool, device=class_probs_QK.device)
        applies_KS = applies_KS.expand(num_classes, -1)
        # One column stands for all classes.
        applies_QKS = applies_KS[None, :1]
    else:
        applies_QKS = applies_KS[None]
    rank_QK = class_probs_QK
    if one_class_per_query:
        rank_QK, best_classes = rank_QK.max(1, keepdim=True)
        applies_QKS = applies_KS[best_classes]
    if ranking == "joint":
        rank_QK = rank_QK * torch.where(applies_QKS, scores_QS[:, None], 1).prod(-1) ** gamma
    elif ranking == "sum":
        sums_QK = rank_QK + torch.where(applies_QKS, scores_QS[:, None], 0).sum(-1)
        rank_QK = sums_QK / (1 + applies_QKS.sum(-1))
    scores, flat = rank_QK.flatten().topk(min(top_k, rank_QK.numel()))
    if one_class_per_query:
        queries, classes = flat, best_classes[flat, 0]
    else:
        queries, classes = flat // num_classes, flat % num_classes
    applies_NS = applies_KS[classes]
    none_S = torch.tensor(none, dtype=torch.int64, device=flat.device)
    values_NS, scores_NS = none_elsewhere(
        values_QS[queries], scores_QS[queries], applies_NS, none_S
    )
    return SelectedQueries(
        queries=queries,
        classes=classes,
        scores=scores,
        class_scores=class_probs_QK[queries, classes],
        subcategories=values_NS,
        subcategory_scores=scores_NS,
        applies=applies_NS,
    )


def require_finite(index: int, *probs: torch.Tensor) -> None:
    """Refuses the predictions of a model that diverged.

    Args:
        index: image index in the batch, for the error.
        probs: probabilities of classes and values, of any shape.

    Raises:
        ValueError: a probability is not finite.
    """
    if not all(p.isfinite().all() for p in probs):
        raise ValueError(
            f"the class or subcategory logits of image {index} of the batch are not finite; the "
            "weights may hold NaN, check that training did not diverge"
        )
