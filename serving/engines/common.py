"""How much two prefixes have in common: what an engine that read one need not read again of the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy


def common_length(first: Sequence[int] | numpy.ndarray, second: Sequence[int] | numpy.ndarray) -> int:
    """The length of the longest common beginning."""
    size = min(len(first), len(second))
    different = numpy.nonzero(numpy.asarray(first[:size]) != numpy.asarray(second[:size]))[0]
    return int(different[0]) if len(different) else size
