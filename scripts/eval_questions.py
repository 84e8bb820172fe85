"""The questions of an evaluation: cases of BFCL, or rows of a file with gold calls."""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

from eval_run import Question

from finetune.bfcl import Case, expects_calls, gold_of, has_answers, load_cases, score
from finetune.examples import Example, RowRefused, read_examples
from finetune.gold import gold_of as gold_of_calls
from grammars.conversation import Choice, Conversation
from grammars.errors import ConfigurationError

ToolChoice = Literal["required", "auto"]


def bfcl_questions(category: str, limit: int | None, tool_choice: ToolChoice | None) -> list[Question]:
    """The first cases of a category. Unless it is said, calls are `required` where BFCL has answers, else `auto`."""
    return [bfcl_question(case, tool_choice) for case in load_cases(category, limit)]


def bfcl_question(case: Case, tool_choice: ToolChoice | None) -> Question:
    if tool_choice == "required" and not expects_calls(case.category):
        raise ConfigurationError(f"{case.category!r} expects no call, which 'required' forbids")
    mode = tool_choice or ("required" if has_answers(case.category) else "auto")
    choice = Choice(mode=mode) if case.tools else None  # some cases offer nothing that could be called
    return Question(
        id=case.id,
        conversation=Conversation.read(case.messages, case.tools, choice),
        gold=gold_of(case),
        judge=partial(score, case),
    )


def file_questions(
    path: Path, limit: int | None, tool_choice: ToolChoice, *, skip: bool
) -> tuple[list[Question], list[RowRefused]]:
    """The first rows of a file that `finetune.examples` reads, and those that were left out if `skip` allows that."""
    refused: list[RowRefused] = []
    examples = read_examples(path, refused=refused if skip else None)
    questions = [file_question(example, tool_choice) for example in islice(examples, limit)]
    if not questions:
        raise ConfigurationError(f"{path} has no row that can be asked")
    return questions, refused


def file_question(example: Example, tool_choice: ToolChoice) -> Question:
    conversation = example.conversation
    if conversation.tools and tool_choice == "required" and example.calls:
        conversation = Conversation.read(conversation.messages, conversation.tools, Choice(mode="required"))
    return Question(id=example.id, conversation=conversation, gold=gold_of_calls(example.calls, conversation.tools))
