"""From the decoder's output to what detectron2's evaluators take, by the config's choices."""

from __future__ import annotations

import dataclasses

from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances

from mask2former_mt import structures
from mask2former_mt.postprocess import (
    Filters,
    InstanceOptions,
    PanopticOptions,
    SemanticOptions,
    predict_instances,
    predict_panoptic,
    predict_semantic,
)
from mask2former_mt.structures import DecoderOutput, SubcategorySpec, per_subcategory


@dataclasses.dataclass
class Inference:
    """What is predicted for an image, and how.

    Args:
        spec: the S subcategories.
        instances, semantic, panoptic: how each of the outputs is made; None leaves it out.
        implementation: of the operators, as of `resize_masks`.
    """

    spec: SubcategorySpec
    instances: InstanceOptions | None = dataclasses.field(default_factory=InstanceOptions)
    semantic: SemanticOptions | None = None
    panoptic: PanopticOptions | None = None
    implementation: str = "auto"

    def __call__(
        self,
        output: DecoderOutput,
        index: int,
        *,
        padded_size: tuple[int, int],
        image_size: tuple[int, int],
        original_size: tuple[int, int],
    ) -> dict:
        """Predicts for one image of a batch.

        Args:
            output: the decoder's predictions for the batch.
            index: of the image in the batch.
            padded_size, image_size, original_size: as of `resize_masks`.

        Returns:
            Those that are asked for of `instances`, Instances with the prediction fields of
            `structures`, best score first; `sem_seg`, as of `predict_semantic`; `panoptic_seg`, as
            of `predict_panoptic`.
        """
        sizes = {
            "padded_size": padded_size,
            "image_size": image_size,
            "original_size": original_size,
        }
        predicted: dict = {}
        if self.semantic is not None:
            predicted["sem_seg"] = predict_semantic(output, index, **sizes, options=self.semantic)
        if self.panoptic is not None:
            predicted["panoptic_seg"] = predict_panoptic(
                output, index, **sizes, spec=self.spec, options=self.panoptic
            )
        if self.instances is not None:
            found = predict_instances(
                output, index, **sizes, options=self.instances, implementation=self.implementation
            )
            instances = predicted["instances"] = Instances(original_size)
            instances.set(structures.PRED_MASKS, found.masks)
            instances.set(structures.PRED_BOXES, Boxes(found.boxes.float()))
            instances.set(structures.SCORES, found.scores)
            instances.set(structures.PRED_CLASSES, found.classes)
            instances.set(structures.PRED_SUBCATEGORIES, found.subcategories)
            instances.set(structures.SUBCATEGORY_SCORES, found.subcategory_scores)
        return predicted


def build_inference(cfg: CfgNode, spec: SubcategorySpec) -> Inference:
    """The config's choices in MODEL.MASK_FORMER.TEST."""
    test = cfg.MODEL.MASK_FORMER.TEST
    filters = Filters(
        score=test.SCORE_THRESHOLD,
        class_score=test.CLASS_THRESHOLD,
        subcategory_scores=per_subcategory(
            test.SUBCATEGORY_THRESHOLDS,
            len(spec),
            "MODEL.MASK_FORMER.TEST.SUBCATEGORY_THRESHOLDS",
        ),
        needs_value=tuple(
            test.DROP_NONE and name in cfg.MODEL.SUBCATEGORY.WITHOUT_NONE for name in spec.names
        ),
        num_values=spec.num_classes,
        min_area=test.MIN_AREA,
        keep=test.KEEP_TOP_K,
        nms=test.NMS,
        nms_threshold=test.NMS_THRESHOLD,
        nms_sigma=test.NMS_SIGMA,
        nms_class_aware=test.NMS_CLASS_AWARE,
    )
    instances = InstanceOptions(
        top_k=cfg.TEST.DETECTIONS_PER_IMAGE,
        ranking=test.RANKING,
        gamma=test.RANKING_GAMMA,
        one_class_per_query=test.ONE_CLASS_PER_QUERY,
        mask_resize=test.MASK_RESIZE,
        filters=filters,
    )
    semantic = SemanticOptions(
        # As published: the other outputs need the masks at the original size anyway.
        resize_masks_first=(
            test.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE or test.PANOPTIC_ON or test.INSTANCE_ON
        ),
        mask_resize=test.MASK_RESIZE,
    )
    panoptic = PanopticOptions(
        object_mask_threshold=test.OBJECT_MASK_THRESHOLD,
        overlap_threshold=test.OVERLAP_THRESHOLD,
        stuff_classes=tuple(test.STUFF_CLASSES),
        mask_resize=test.MASK_RESIZE,
    )
    return Inference(
        spec=spec,
        instances=instances if test.INSTANCE_ON else None,
        semantic=semantic if test.SEMANTIC_ON else None,
        panoptic=panoptic if test.PANOPTIC_ON else None,
        implementation=cfg.MODEL.MS_DEFORM_ATTN_IMPL,
    )
