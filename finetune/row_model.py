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
    """The cross-entropy of each of the row's targets, `[targets]`, in float32 and unweighted; 0 for those that do not
    count.

    Logits are computed only where something that counts is predicted: of a packed row that is a small part.
    """
    dtype = next(model.parameters()).dtype
    seen = torch.from_numpy(row.mask).to(device)
    mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, torch.finfo(dtype).min)
    counts = torch.from_numpy(row.weight > 0).to(device)
    forward: Any = model  # its signature names only what every model takes
    output = forward(
        input_ids=torch.from_numpy(row.tokens).to(device)[None],
        attention_mask=mask[None, None],
        position_ids=torch.from_numpy(row.position).to(device)[None],
        logits_to_keep=torch.from_numpy(row.index).to(device)[counts],
        use_cache=False,
    )
    logits: torch.Tensor = output.logits[0].float()
    found = cross_entropy(logits, torch.from_numpy(row.target).to(device)[counts], reduction="none")
    return torch.zeros(counts.shape, device=device).masked_scatter(counts, found)


def weighted_sum(losses: torch.Tensor, row: Row) -> torch.Tensor:
    """The sum of the row's losses, each as much as it counts: over the weights of a step, what training minimises."""
    return (losses * torch.from_numpy(row.weight).to(losses.device)).sum()


def losses_by_kind(losses: torch.Tensor, row: Row) -> dict[str, list[float]]:
    """The losses of the tokens that count, by what their lessons are for."""
    found: dict[str, list[float]] = {}
    for number, loss, weight in zip(row.lesson, losses.tolist(), row.weight, strict=True):
        if weight > 0:
            found.setdefault(row.kinds[number], []).append(loss)
    return found
