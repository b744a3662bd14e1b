"""The joint metric AP^J beside COCO's segm AP: match once, then verify the labels of each match.

COCO's segm matching (class, IoU threshold, score order) runs once and unchanged. A match then stays
a true positive for AP^J only if every annotated subcategory of the ground truth is predicted right;
otherwise the detection is a false positive and the ground truth stays missed. Nothing is matched
again, so a duplicate with the right labels cannot repair a detection with wrong ones.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mask2former_mt.evaluation.coco_inputs import index_ground_truth, index_results
from mask2former_mt.structures import UNKNOWN, SubcategorySpec

# T IoU thresholds, R recall thresholds, K categories, A area ranges, S subcategories,
# D detections of one category in one image

# COCOeval's area ranges are all, small, medium, large; AP^J and accuracy are over "all".
ALL_AREAS = 0


@dataclasses.dataclass(frozen=True)
class JointMatches:
    """What COCO's matching found, with the labels of both sides.

    Args:
        coco_eval: after `evaluate()`, with one `maxDets`.
        gt_labels: int64 (annotations + 1, S), each in {-1, 0..K_s}, by the ids in `coco_eval`;
            row 0 stands for "no match".
        dt_labels: int64 (detections + 1, S), each in 0..K_s, likewise; row 0 is not used.
    """

    coco_eval: COCOeval
    gt_labels: np.ndarray
    dt_labels: np.ndarray

    def over_all_areas(self) -> list[int]:
        """The positions in `coco_eval.evalImgs` of the non-empty entries over all areas."""
        params = self.coco_eval.params
        num_images, num_areas = len(params.imgIds), len(params.areaRng)
        positions = (
            (k * num_areas + ALL_AREAS) * num_images + i
            for k in range(len(params.catIds))
            for i in range(num_images)
        )
        return [p for p in positions if self.coco_eval.evalImgs[p] is not None]

    def compare(self, entry: Mapping) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compares the labels of one image's and category's matches.

        Args:
            entry: one of `coco_eval.evalImgs`.

        Returns:
            matched bool (T, D): matched to ground truth that counts (not crowd, in the area
            range); annotated bool (T, D, S): that ground truth has the label; right bool
            (T, D, S): the predicted value equals the annotated one.
        """
        gt_ids_TD = entry["dtMatches"].astype(np.int64)
        matched_TD = (gt_ids_TD > 0) & ~entry["dtIgnore"].astype(bool)
        gt_labels_TDS = self.gt_labels[gt_ids_TD]
        dt_labels_DS = self.dt_labels[np.asarray(entry["dtIds"], dtype=np.int64)]
        annotated_TDS = matched_TD[..., None] & (gt_labels_TDS != UNKNOWN)
        return matched_TD, annotated_TDS, annotated_TDS & (gt_labels_TDS == dt_labels_DS)


def evaluate_joint(
    coco_gt: COCO,
    results: Sequence[Mapping],
    spec: SubcategorySpec,
    class_names: Sequence[str],
    *,
    max_dets: int = 100,
) -> dict[str, float]:
    """Computes segm AP, AP^J and the accuracy of each subcategory.

    Args:
        coco_gt: ground truth; it is not changed. An annotation's `"subcategories"` may miss keys
            (unknown) and hold null (none, a value like the others).
        results: entries as `results.instances_to_results` makes them; may be empty.
        spec: the S subcategories; with S = 0, AP^J is the segm AP.
        class_names: of the categories in the order of their ids.
        max_dets: detections counted per image and category, the highest scores first.

    Returns:
        Percentages under `segm/{AP,AP50,AP75,APs,APm,APl}`, `segm/AP-<class>`,
        `joint/{AP,AP50}`, `joint/AP-<subcategory>` and `subcategory/<name>/accuracy`: the share of
        right values among matches at IoU >= .5 whose ground truth has the label. NaN stands for
        undefined: an AP without ground truth to find (of that class or area), an accuracy without
        such a match. Where there is ground truth and no prediction, an AP is 0.

    Raises:
        ValueError: a result or an annotation that does not fit (named), or class names that are
            not as many as the categories, or not unique.

    Source: COCO's segm evaluation; AP^J and AP^J_s as this module's docstring defines them.
    """
    if len(class_names) != len(coco_gt.cats) or len(set(class_names)) != len(class_names):
        raise ValueError(
            f"class_names must be {len(coco_gt.cats)} different names, one for each of the "
            f"categories {sorted(coco_gt.cats)}, got {list(class_names)}"
        )
    matches = match(coco_gt, results, spec, max_dets=max_dets)
    params = matches.coco_eval.params
    is_50, is_75 = np.isclose(params.iouThrs, 0.5), np.isclose(params.iouThrs, 0.75)

    segm_TRKA = _precision(matches.coco_eval)
    metrics = {
        "segm/AP": _percent(segm_TRKA[..., ALL_AREAS]),
        "segm/AP50": _percent(segm_TRKA[is_50][..., ALL_AREAS]),
        "segm/AP75": _percent(segm_TRKA[is_75][..., ALL_AREAS]),
    }
    for a, area in enumerate(params.areaRngLbl):
        if a != ALL_AREAS:
            metrics[f"segm/AP{area[0]}"] = _percent(segm_TRKA[..., a])
    for k, class_name in enumerate(class_names):
        metrics[f"segm/AP-{class_name}"] = _percent(segm_TRKA[:, :, k, ALL_AREAS])

    joint_TRK = joint_precision(matches, range(len(spec)))
    metrics["joint/AP"] = _percent(joint_TRK)
    metrics["joint/AP50"] = _percent(joint_TRK[is_50])
    for column, name in enumerate(spec.names):
        metrics[f"joint/AP-{name}"] = _percent(joint_precision(matches, [column]))
    for name, accuracy in zip(spec.names, accuracies(matches), strict=True):
        metrics[f"subcategory/{name}/accuracy"] = float(accuracy)
    return metrics


def match(
    coco_gt: COCO, results: Sequence[Mapping], spec: SubcategorySpec, *, max_dets: int = 100
) -> JointMatches:
    """Runs COCO's segm matching, unchanged, on checked copies of both sides.

    Raises:
        ValueError: as `evaluate_joint`.
    """
    ground_truth, gt_labels = index_ground_truth(coco_gt, spec)
    detections, dt_labels = index_results(coco_gt, results, spec)
    coco_eval = COCOeval(ground_truth, detections, "segm")
    # AP is that of the largest number alone; COCO's 1 and 10 are for its average recall.
    coco_eval.params.maxDets = [max_dets]
    with contextlib.redirect_stdout(io.StringIO()):
        coco_eval.evaluate()
    no_row = np.full((1, len(spec)), UNKNOWN)
    return JointMatches(
        coco_eval, np.concatenate([no_row, gt_labels]), np.concatenate([no_row, dt_labels])
    )


def joint_precision(matches: JointMatches, columns: Sequence[int]) -> np.ndarray:
    """The precision at each recall when the matches' labels in `columns` are verified.

    Args:
        matches: from `match`; not changed.
        columns: of the labels, in 0..S-1; none of them leaves COCO's precision.

    Returns:
        float (T, R, K) over all areas, in [0, 1]; -1 where a category has no ground truth.
    """
    coco_eval = copy.copy(matches.coco_eval)
    coco_eval.evalImgs = list(coco_eval.evalImgs)
    columns = list(columns)
    for position in matches.over_all_areas():
        entry = coco_eval.evalImgs[position]
        _, annotated_TDS, right_TDS = matches.compare(entry)
        wrong_TD = (annotated_TDS & ~right_TDS)[..., columns].any(axis=-1)
        # No match and not ignored is what COCO calls a false positive. The entry's dtIgnore is
        # False there already: only matches to ground truth that counts are annotated.
        coco_eval.evalImgs[position] = {
            **entry,
            "dtMatches": np.where(wrong_TD, 0, entry["dtMatches"]),
        }
    params = copy.copy(coco_eval.params)
    params.areaRng = [params.areaRng[ALL_AREAS]]
    return _precision(coco_eval, params)[..., 0]


def accuracies(matches: JointMatches) -> np.ndarray:
    """The share, in percent, of right values among annotated matches at IoU >= .5.

    Returns:
        float (S,); NaN for a subcategory without such a match.
    """
    num_annotated, num_right = np.zeros((2, matches.gt_labels.shape[1]))
    at_50 = int(np.flatnonzero(np.isclose(matches.coco_eval.params.iouThrs, 0.5))[0])
    for position in matches.over_all_areas():
        _, annotated_TDS, right_TDS = matches.compare(matches.coco_eval.evalImgs[position])
        num_annotated += annotated_TDS[at_50].sum(axis=0)
        num_right += right_TDS[at_50].sum(axis=0)
    undefined = np.full_like(num_right, np.nan)
    return np.divide(100 * num_right, num_annotated, out=undefined, where=num_annotated > 0)


def _precision(coco_eval: COCOeval, params=None) -> np.ndarray:
    """(T, R, K, A), from `coco_eval.evalImgs`."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco_eval.accumulate(params)
    return coco_eval.eval["precision"][..., 0]


def _percent(precision: np.ndarray) -> float:
    """COCO's mean, which leaves out what has no ground truth (-1); NaN when that is everything."""
    defined = precision[precision > -1]
    return float(100 * defined.mean()) if defined.size else float("nan")
