"""How much two prefixes have in common: what an engine that read one need not read again of the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """The length of the longest common beginning."""
    size = min(len(first), len(second))
    different = numpy.nonzero(numpy.array(first[:size]) != numpy.array(second[:size]))[0]
    return int(different[0]) if len(different) else size
