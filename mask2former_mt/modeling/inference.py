"""From the decoder's output to what detectron2's evaluators take, as the config chooses."""

from __future__ import annotations

import dataclasses

from detectron2.config import CfgNode

from mask2former_mt.ops.implementation import Implementation
from mask2former_mt.postprocess import (
    Filters,
    InstanceOptions,
    PanopticOptions,
    SemanticOptions,
    predict_instances,
    predict_panoptic,
    predict_semantic,
)
from mask2former_mt.structures import (
    DecoderOutput,
    ImageSizes,
    SubcategorySpec,
    numbered,
    per_subcategory,
)


@dataclasses.dataclass
class Inference:
    """Which outputs are predicted for an image, and how.

    Args:
        spec: the S subcategories.
        instances, semantic, panoptic: how each of the outputs is made; None leaves it out.
        implementation: of the resize of masks.
    """

    spec: SubcategorySpec
    instances: InstanceOptions | None = dataclasses.field(default_factory=InstanceOptions)
    semantic: SemanticOptions | None = None
    panoptic: PanopticOptions | None = None
    implementation: Implementation = Implementation.AUTO

    def with_encoded_masks(self) -> Inference:
        """The same with `InstanceOptions.encoded`, for who writes masks as run lengths."""
        if self.instances is None:
            return self
        instances = dataclasses.replace(self.instances, encoded=True)
        return dataclasses.replace(self, instances=instances)

    def __call__(self, output: DecoderOutput, index: int, sizes: ImageSizes) -> dict:
        """Predicts for one image of a batch.

        Args:
            output: the decoder's predictions for the batch.
            index: image index in the batch.
            sizes: sizes of the image.

        Returns:
            The outputs that are asked for: `instances`, as of `predict_instances`; `sem_seg`, as of
            `predict_semantic`; `panoptic_seg`, as of `predict_panoptic`.
        """
        predicted: dict = {}
        if self.semantic is not None:
            predicted["sem_seg"] = predict_semantic(output, index, sizes, options=self.semantic)
        if self.panoptic is not None:
            predicted["panoptic_seg"] = predict_panoptic(
                output,
                index,
                sizes,
                spec=self.spec,
                options=self.panoptic,
                implementation=self.implementation,
            )
        if self.instances is not None:
            predicted["instances"] = predict_instances(
                output,
                index,
                sizes,
                options=self.instances,
                implementation=self.implementation,
            )
        return predicted


def build_inference(cfg: CfgNode, spec: SubcategorySpec) -> Inference:
    """The inference that the keys of MODEL.MASK_FORMER.TEST describe.

    Args:
        spec: of `SubcategorySpec.from_counts`: classes are named by their numbers.
    """
    test = cfg.MODEL.MASK_FORMER.TEST
    class_names = numbered(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
    applies = tuple(map(tuple, spec.applicable(class_names))) if spec.is_limited else ()
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
        applies=applies,
    )
    semantic = SemanticOptions(
        # As published: where other outputs need the masks at the original size, all take them.
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
        applies=applies,
    )
    return Inference(
        spec=spec,
        instances=instances if test.INSTANCE_ON else None,
        semantic=semantic if test.SEMANTIC_ON else None,
        panoptic=panoptic if test.PANOPTIC_ON else None,
        implementation=Implementation(cfg.MODEL.MS_DEFORM_ATTN_IMPL),
    )
