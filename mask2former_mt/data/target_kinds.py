"""What the records of a dataset hold to learn from, and which of it a mapper's name means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mask2former_mt.dataset.map_split import CLASS_MAP, SEGMENT_MAP

# The key of a dataset dict that says where the targets are.
INSTANCES, SEMANTIC, PANOPTIC = "annotations", CLASS_MAP, SEGMENT_MAP
# Which of INPUT.DATASET_MAPPER_NAME learns from what: the first that all records have.
TARGETS = {
    "plain": (INSTANCES, PANOPTIC, SEMANTIC),
    "coco_instance_lsj": (INSTANCES,),
    # The default, which stands in published files of instances, too.
    "mask_former_semantic": (SEMANTIC, INSTANCES),
    "mask_former_panoptic": (PANOPTIC,),
    "mask_former_instance": (INSTANCES,),
    "coco_panoptic_lsj": (PANOPTIC,),
}
_IN_WORDS = {
    INSTANCES: "instances ('annotations')",
    SEMANTIC: "maps of classes ('sem_seg_file_name')",
    PANOPTIC: "panoptic segments ('pan_seg_file_name')",
}


def target_of(mapper_name: str, records: Sequence[Mapping]) -> str:
    """What is learned from records.

    Args:
        mapper_name: one of `TARGETS`.
        records: dataset dicts.

    Returns:
        `INSTANCES`, `SEMANTIC` or `PANOPTIC`. Records without any of them have no instances.

    Raises:
        ValueError: the name means what some of the records do not have.
    """
    held = [kind for kind in _IN_WORDS if any(kind in record for record in records)]
    wanted = TARGETS[mapper_name]
    for kind in wanted:
        if all(kind in record for record in records):
            return kind
    if not held or (held == [INSTANCES] and INSTANCES in wanted):
        return INSTANCES
    fitting = [name for name, kinds in TARGETS.items() if set(kinds) & set(held)]
    raise ValueError(
        f"INPUT.DATASET_MAPPER_NAME {mapper_name!r} learns from "
        f"{' or '.join(map(_IN_WORDS.get, wanted))}, but the records of DATASETS.TRAIN have "
        f"{' and '.join(map(_IN_WORDS.get, held))}"
        f"{', not all of them' if set(held) & set(wanted) else ''}; set it to one of {fitting}, "
        "or train on datasets of one kind"
    )
