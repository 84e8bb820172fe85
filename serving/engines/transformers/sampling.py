"""Choosing the next token of each stream under its mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import torch

from grammars.branch import Sampling


class Chooser:
    """The choices of one stream: greedy, or sampled by a generator of its own, so that siblings cannot disturb it."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    @property
    def greedy(self) -> bool:
        return self._sampling.temperature == 0.0

    def choose(self, logits: torch.Tensor) -> int:
        """A token drawn from masked `logits` `[vocabulary]`: temperature first, then the nucleus (arXiv:1904.09751)."""
        probabilities = torch.softmax(logits.cpu().double() / self._sampling.temperature, dim=-1)
        ordered, tokens = probabilities.sort(descending=True)
        # A token belongs to the nucleus if those before it do not yet reach top_p; the first always does.
        inside = ordered.cumsum(dim=-1) - ordered < self._sampling.top_p
        inside[0] = True
        drawn = torch.multinomial(ordered * inside, 1, generator=self._generator)
        return int(tokens[drawn])


def likelihoods(logits: torch.Tensor, token: int, count: int) -> tuple[float, list[tuple[int, float]]]:
    """The logarithm of a token's probability by masked `logits` `[vocabulary]`, and the `count` likeliest tokens'."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    values, tokens = logprobs.topk(min(count, len(logprobs)))
    top = [(other, its) for other, its in zip(tokens.tolist(), values.tolist(), strict=True) if its > float("-inf")]
    return float(logprobs[token]), top


def choose_tokens(logits: torch.Tensor, masks: Sequence[numpy.ndarray], choosers: Sequence[Chooser]) -> list[int]:
    """One token for each row of `logits` `[streams, vocabulary]`, allowed by the stream's mask. Overwrites `logits`."""
    bits = torch.from_numpy(numpy.stack(masks).view(numpy.uint8)).to(logits.device)
    shifts = torch.arange(8, dtype=torch.uint8, device=logits.device)
    allowed = ((bits[:, :, None] >> shifts) & 1).bool().flatten(1)[:, : logits.shape[1]]
    logits.masked_fill_(~allowed, float("-inf"))
    tokens: list[int] = logits.argmax(dim=-1).tolist()
    return [
        token if chooser.greedy else chooser.choose(row)
        for token, chooser, row in zip(tokens, choosers, logits, strict=True)
    ]
