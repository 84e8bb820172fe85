"""How likely the tokens of a text were, as the events of a stream have it and as the text itself."""

from __future__ import annotations

from openai.types.responses.response_output_text import Logprob, LogprobTopLogprob
from openai.types.responses.response_text_delta_event import Logprob as DeltaLogprob
from openai.types.responses.response_text_delta_event import LogprobTopLogprob as DeltaTop
from openai.types.responses.response_text_done_event import Logprob as DoneLogprob
from openai.types.responses.response_text_done_event import LogprobTopLogprob as DoneTop

from serving.engines.base import TokenLogprob


def whole(token: TokenLogprob) -> Logprob:
    """As a part of the output has it."""
    top = [LogprobTopLogprob(token=other.text, bytes=list(other.bytes), logprob=other.logprob) for other in token.top]
    return Logprob(token=token.text, bytes=list(token.bytes), logprob=token.logprob, top_logprobs=top)


def delta(token: TokenLogprob) -> DeltaLogprob:
    """As the event of a piece of text has it."""
    top = [DeltaTop(token=other.text, logprob=other.logprob) for other in token.top]
    return DeltaLogprob(token=token.text, logprob=token.logprob, top_logprobs=top)


def done(token: TokenLogprob) -> DoneLogprob:
    """As the event of the whole text has it."""
    top = [DoneTop(token=other.text, logprob=other.logprob) for other in token.top]
    return DoneLogprob(token=token.text, logprob=token.logprob, top_logprobs=top)
