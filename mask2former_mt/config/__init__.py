"""Config keys: what there is, what each may hold, and what of it goes together."""

from mask2former_mt.config.config_checks import (
    check_config,
    may_hold,
    require_device,
    require_instances,
    say_what_has_no_effect,
)
from mask2former_mt.config.labels_in_config import fill_labels
from mask2former_mt.config.mask2former_keys import add_mask2former_mt_config, replace_gone_values

__all__ = [
    "add_mask2former_mt_config",
    "check_config",
    "fill_labels",
    "may_hold",
    "replace_gone_values",
    "require_device",
    "require_instances",
    "say_what_has_no_effect",
]
