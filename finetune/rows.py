"""Rows: packed tokens, a prefix once and then every stream of an example that stands on it.

The shape is that of a turn that is served, and the mask comes from the same function, `grammars.tree.visible`: each
stream sees the prefix and itself, never a sibling, and its positions begin where the prefix ends. So one pass over a
row teaches what one pass over each stream with a prefix of its own would, which is how SimpleTool trains its heads
(arXiv:2603.00030), for a fraction of the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grammars.tree import PREFIX, visible


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One stream to be learned: `suffix` is known text that it stands on, `written` what is to be written after it.
    `kind` says what it is for, such as "tally".

    `weights` says how much each written token counts; 0 is for those that the grammar forces, which no model is ever
    asked for. Without a suffix the first token is written right after the prefix.
    """

    kind: str
    suffix: tuple[int, ...] = ()
    written: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.written or len(self.written) != len(self.weights):
            raise ValueError(f"{len(self.written)} written tokens with {len(self.weights)} weights")

    @property
    def read(self) -> tuple[int, ...]:
        """The tokens that the model reads: all but the last written one, which nothing follows."""
        return (*self.suffix, *self.written[:-1])


@dataclass(frozen=True, kw_only=True)
class Row:
    """Tokens to be read in one pass, and what is to be predicted from them.

    `example`, `tokens`, `branch` and `position` have one entry a token. Token `index[i]` predicts `target[i]`, which
    counts `weight[i]`; `lesson[i]` numbers the lesson that it belongs to, and `kinds` says what each lesson is for.
    """

    example: NDArray[np.int64]
    tokens: NDArray[np.int64]
    branch: NDArray[np.int64]
    position: NDArray[np.int64]
    index: NDArray[np.int64]
    target: NDArray[np.int64]
    weight: NDArray[np.float32]
    lesson: NDArray[np.int64]
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which tokens each token sees, `[tokens, tokens]`: of its own example, the prefix and its own branch."""
        seen: NDArray[np.bool_] = visible(
            query_branch=self.branch[:, None],
            query_position=self.position[:, None],
            key_branch=self.branch[None, :],
            key_position=self.position[None, :],
        )
        same: NDArray[np.bool_] = self.example[:, None] == self.example[None, :]
        return seen & same


def packed_row(prefix: Sequence[int], lessons: Sequence[Lesson]) -> Row:
    """The row of an example. The prefix has at least one token."""
    if not prefix or not lessons:
        raise ValueError("a row needs a prefix and something to learn")
    tokens, branch, position = list(prefix), [PREFIX] * len(prefix), list(range(len(prefix)))
    index: list[int] = []
    for number, lesson in enumerate(lessons, start=1):
        begin = len(tokens)
        tokens += lesson.read
        branch += [number] * len(lesson.read)
        position += range(len(prefix), len(prefix) + len(lesson.read))
        # What precedes the first written token is the suffix's last one, or the prefix's.
        first = begin + len(lesson.suffix) - 1 if lesson.suffix else len(prefix) - 1
        index += [first, *range(begin + len(lesson.suffix), begin + len(lesson.read))]
    return Row(
        example=np.zeros(len(tokens), dtype=np.int64),
        tokens=np.array(tokens, dtype=np.int64),
        branch=np.array(branch, dtype=np.int64),
        position=np.array(position, dtype=np.int64),
        index=np.array(index, dtype=np.int64),
        target=np.array([token for lesson in lessons for token in lesson.written], dtype=np.int64),
        weight=np.array([weight for lesson in lessons for weight in lesson.weights], dtype=np.float32),
        lesson=np.repeat(np.arange(len(lessons), dtype=np.int64), [len(lesson.written) for lesson in lessons]),
        kinds=tuple(lesson.kind for lesson in lessons),
    )


def separate_rows(prefix: Sequence[int], lessons: Sequence[Lesson]) -> list[Row]:
    """The same as a row for each lesson, each with a prefix of its own: what packing saves."""
    return [packed_row(prefix, [lesson]) for lesson in lessons]


def joined(rows: Sequence[Row]) -> Row:
    """Several examples to be read in one pass, none of which sees another."""
    begins = np.cumsum([0, *(len(row) for row in rows)])
    lessons = np.cumsum([0, *(len(row.kinds) for row in rows)])
    return Row(
        example=np.repeat(np.arange(len(rows), dtype=np.int64), [len(row) for row in rows]),
        tokens=np.concatenate([row.tokens for row in rows]),
        branch=np.concatenate([row.branch for row in rows]),
        position=np.concatenate([row.position for row in rows]),
        index=np.concatenate([row.index + begin for row, begin in zip(rows, begins, strict=False)]),
        target=np.concatenate([row.target for row in rows]),
        weight=np.concatenate([row.weight for row in rows]),
        lesson=np.concatenate([row.lesson + first for row, first in zip(rows, lessons, strict=False)]),
        kinds=tuple(kind for row in rows for kind in row.kinds),
    )
