"""RowModel: a causal language model that reads rows, and how badly it predicts what their lessons write.

It is the one place of `finetune` that knows torch's side of a row: the mask goes to transformers as a mask of four
dimensions, which its attention takes as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from finetune.rows import Row


def row_losses(model: torch.nn.Module, row: Row, device: torch.device) -> torch.Tensor:
    """The cross-entropy of each of the row's targets, `[targets]`, in float32 and unweighted.

    Logits are computed only where something is predicted: of a packed row that is a small part.
    """
    dtype = next(model.parameters()).dtype
    seen = torch.from_numpy(row.mask).to(device)
    mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, torch.finfo(dtype).min)
    wanted, where = torch.unique(torch.from_numpy(row.index).to(device), return_inverse=True)
    forward: Any = model  # its signature names only what every model takes
    output = forward(
        input_ids=torch.from_numpy(row.tokens).to(device)[None],
        attention_mask=mask[None, None],
        position_ids=torch.from_numpy(row.position).to(device)[None],
        logits_to_keep=wanted,
        use_cache=False,
    )
    logits: torch.Tensor = output.logits[0].float()
    return cross_entropy(logits[where], torch.from_numpy(row.target).to(device), reduction="none")


def row_loss(losses: torch.Tensor, row: Row) -> torch.Tensor:
    """The weighted mean of the row's losses: what training minimises."""
    weight = torch.from_numpy(row.weight).to(losses.device)
    return (losses * weight).sum() / weight.sum().clamp_min(1e-6)


def lesson_losses(losses: torch.Tensor, row: Row) -> list[float]:
    """The sum of the weighted losses of each lesson, in their order."""
    weighted = losses.detach() * torch.from_numpy(row.weight).to(losses.device)
    lesson = torch.from_numpy(row.lesson).to(losses.device)
    return list(torch.zeros(len(row.kinds), device=losses.device).index_add_(0, lesson, weighted).tolist())


def kind_losses(losses: torch.Tensor, row: Row) -> dict[str, float]:
    """The mean loss of the tokens that count, by what their lessons are for."""
    counts = row.weight > 0
    kinds = [row.kinds[number] for number in row.lesson]
    found: dict[str, list[float]] = {}
    for kind, loss, is_counted in zip(kinds, losses.tolist(), counts, strict=True):
        if is_counted:
            found.setdefault(kind, []).append(loss)
    return {kind: sum(values) / len(values) for kind, values in found.items()}
