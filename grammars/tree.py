"""The tree-shaped attention rule: each token sees the prefix and its own branch only.

A turn is one row of tokens: the prefix once, then the branches, their positions all restarting where the prefix ends.
Serving and training build their masks from this one function, so the two shapes cannot drift apart. It is written
with operators alone and so takes NumPy arrays and torch tensors alike.
"""

from __future__ import annotations

from typing import Any

PREFIX = 0
"""The branch number of prefix tokens. Branches of a row are numbered from 1."""


def visible(*, query_branch: Any, query_position: Any, key_branch: Any, key_position: Any) -> Any:
    """Which keys each query may attend to.

    All four arguments broadcast together, usually queries as a column `[n, 1]` and keys as a row `[1, m]`; the answer
    is a boolean array `[n, m]`. A query sees a key of the prefix or of its own branch at its own position or earlier.
    """
    return ((key_branch == PREFIX) | (key_branch == query_branch)) & (key_position <= query_position)
