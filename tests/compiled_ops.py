"""The operators' implementations as test parameters, skipped where nothing is compiled."""

import pytest

from mask2former_mt.ops import native

needs_native = pytest.mark.skipif(
    not native.is_available(), reason=f"the operator is not compiled: {native.BUILD_COMMAND}"
)
IMPLEMENTATIONS = ("torch", pytest.param("native", marks=needs_native))
