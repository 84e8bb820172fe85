"""Examples to train on, made by rule: scripts/synthesize --count N --output FILE [--data FILE ...] [--tools FILE ...]

They are written as OpenAI's chat format has them, one a line, so that scripts/train and others read them. Some are of a
catalogue of tools of polycall's own; where rows of data or tools are given, others are composed from those.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from train import tell_left_out

from finetune.answered import answered
from finetune.composed.composer import Composer
from finetune.composed.tools_data import read_tools
from finetune.examples import read_examples
from finetune.held_out import Removed, refuse_held_out, without_held_out
from finetune.readers.data_rows import RowRefused
from finetune.readers.example import Example
from finetune.readers.openai_logs import as_openai_log
from finetune.synthetic.examples import synthetic_examples
from grammars.errors import ConfigurationError, PolycallError

app = typer.Typer(add_completion=False)


@app.command()
def synthesize(
    count: Annotated[int, typer.Option(min=1, help="How many examples")],
    output: Annotated[Path, typer.Option(help="The file to write, JSON lines")],
    data: Annotated[list[Path] | None, typer.Option(help="Rows of data to compose from; may be repeated")] = None,
    tools: Annotated[list[Path] | None, typer.Option(help="Tools to compose from, JSON lines; may be repeated")] = None,
    composed: Annotated[
        float, typer.Option(min=0, max=1, help="The share that is composed, where data is given")
    ] = 0.5,
    answer: Annotated[float, typer.Option(min=0, max=1, help="The share that goes on to results and an answer")] = 0.1,
    seed: Annotated[int, typer.Option(help="The same seed writes the same file")] = 1,
) -> None:
    """Write examples of several calls, of one and of none, some with what comes after the calls."""
    console = Console(stderr=True)
    try:
        paths, described = data or [], [tool for path in tools or [] for tool in read_tools(path)]
        whole = round(count * composed) if paths or described else 0
        made: list[Iterator[Example]] = [synthetic_examples(seed, count - whole)]
        if whole:
            made.append(Composer(rows(paths, console), described).examples(seed, whole))
        examples = list(track(chain(*made), description="making", total=count, console=console))
        removed: list[Removed] = []
        examples = list(without_held_out(examples, removed))
        tell_left_out([f"{one.example.id}: {one.reason}" for one in removed], console)
        chance = random.Random(seed)
        chance.shuffle(examples)
        write(
            output,
            [one if chance.random() >= answer or len(one.waves) != 1 else answered(one, chance) for one in examples],
        )
    except (PolycallError, ValueError) as error:
        console.print(f"[red]{error}[/red]", soft_wrap=True)
        raise typer.Exit(1) from error
    Console().print(table_of(examples))


def rows(paths: list[Path], console: Console) -> list[Example]:
    """The rows of data that can be used. Raises `ConfigurationError` for a file that may not be trained on."""
    refused: list[RowRefused] = []
    removed: list[Removed] = []
    found: list[Example] = []
    for path in paths:
        refuse_held_out(path)
        found += without_held_out(read_examples(path, refused=refused), removed)
    tell_left_out([*map(str, refused), *(f"{one.example.id}: {one.reason}" for one in removed)], console)
    return found


def with_answer(example: Example, chance: random.Random, share: float) -> Example:
    """The example, or by so great a chance, if no call of it waits for another, what comes after its calls."""
    return answered(example, chance) if chance.random() < share and len(example.waves) == 1 else example


def write(path: Path, examples: list[Example]) -> None:
    """The file, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            for example in examples:
                row: dict[str, Any] = as_openai_log(example)
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        partial.rename(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error}") from error


def table_of(examples: list[Example]) -> Table:
    """How many calls the examples ask for, by where they come from."""
    counts = Counter((example.source, len(example.calls)) for example in examples)
    most = max((calls for _, calls in counts), default=0)
    table = Table("calls", *map(str, range(most + 1)), "all")
    for source in sorted({source for source, _ in counts}):
        numbers = [counts[source, calls] for calls in range(most + 1)]
        table.add_row(source, *(str(number or "") for number in numbers), str(sum(numbers)))
    return table


if __name__ == "__main__":
    app()
