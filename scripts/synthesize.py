"""Examples to train on, made by rule: scripts/synthesize --count N --output FILE [--data FILE ...] [--tools FILE ...]

They are written as OpenAI's chat format has them, one a line, so that scripts/train and others read them. Some are of a
catalogue of tools of polycall's own; where rows of data or tools are given, others are composed from those.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from data_files import examples_to_train_on, reason_of, tell_left_out
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from synthesize_texts import with_texts

from finetune.answered import answered
from finetune.composed.composer import Composer, Composition, Shares
from finetune.composed.tools_data import read_tools
from finetune.findings import findings
from finetune.held_out import Removed, without_held_out
from finetune.other_numbers import with_other_numbers
from finetune.readers.example import Example
from finetune.readers.openai_logs import as_openai_log
from finetune.synthetic.examples import synthetic_examples
from grammars.errors import ConfigurationError, PolycallError
from grammars.findings import finding_conversations

MANY = 9
"""From so many calls on, examples are counted together."""

app = typer.Typer(add_completion=False)


@app.command()
def synthesize(
    count: Annotated[int, typer.Option(min=0, help="How many examples, besides what comes after their calls")],
    output: Annotated[Path, typer.Option(help="The file to write, JSON lines")],
    data: Annotated[list[Path] | None, typer.Option(help="Rows of data to compose from; may be repeated")] = None,
    tools: Annotated[list[Path] | None, typer.Option(help="Tools to compose from, JSON lines; may be repeated")] = None,
    composed: Annotated[
        float, typer.Option(min=0, max=1, help="The share that is composed, where data is given")
    ] = 0.5,
    kept: Annotated[
        float, typer.Option(min=0, help="How many of those are a row as it is, to 13 that are made of rows")
    ] = Shares.kept,
    withheld: Annotated[
        float, typer.Option(min=0, help="Likewise of written requests without one of the tools that they need")
    ] = Shares.withheld,
    answer: Annotated[
        float, typer.Option(min=0, max=1, help="The share that goes on to results and an answer: an example more each")
    ] = 0.1,
    with_findings: Annotated[
        bool,
        typer.Option(
            "--findings",
            help="Also what answers of the data say of each result, where they say it apart, half with other numbers",
        ),
    ] = False,
    texts_of: Annotated[
        str | None,
        typer.Option(help="The model that is to be trained: what needs no call gets the answer that it gives"),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed writes the same file")] = 1,
) -> None:
    """Write examples of several calls, of one and of none, some with what comes after the calls."""
    console = Console(stderr=True)
    try:
        paths, described = data or [], [tool for path in tools or [] for tool in read_tools(path)]
        whole = round(count * composed) if paths or described else 0
        made: list[Iterator[Example]] = [synthetic_examples(seed, count - whole)]
        given = examples_to_train_on(paths, console, skip=True) if whole or with_findings else []
        if whole:
            composition = Composition(shares=Shares(kept=kept, withheld=withheld))
            made.append(Composer(given, described, composition).examples(seed, whole))
        examples = list(track(chain(*made), description="making", total=count, console=console))
        removed: list[Removed] = []
        examples = list(without_held_out(examples, removed))
        tell_left_out([*map(reason_of, removed)], console)
        random = Random(seed)
        random.shuffle(examples)
        examples = [one for example in examples for one in with_answer(example, random, answer)]
        if texts_of is not None:
            examples = with_texts(examples, texts_of, console)
        if with_findings:
            said = list(chain.from_iterable(map(findings, given)))
            results = sum(len(finding_conversations(example.conversation)) for example in given if example.text)
            console.print(f"{len(said)} of {results} results are said apart, without a number or a name from elsewhere")
            examples += [half_with_other_numbers(one, random) for one in said]
        write(output, examples)
    except (PolycallError, ValueError) as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    Console().print(table_of(examples))


def with_answer(example: Example, random: Random, share: float) -> list[Example]:
    """The example, and by the chance of this share what comes after its calls, if none of them waits for another."""
    goes_on = random.random() < share and len(example.waves) == 1
    return [example, answered(example, random)] if goes_on else [example]


def half_with_other_numbers(finding: Example, random: Random) -> Example:
    """The finding, or by an even chance the same with other numbers, if it can have them."""
    other = with_other_numbers(finding, random) if random.random() < 0.5 else None
    return other or finding


def write(path: Path, examples: list[Example]) -> None:
    """The file, whole or not at all. Raises `ConfigurationError` where it cannot be written."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            for example in examples:
                file.write(json.dumps(as_openai_log(example), ensure_ascii=False) + "\n")
        partial.rename(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error}") from error


def table_of(examples: list[Example]) -> Table:
    """How many calls the examples ask for, by where they come from: as wide as a terminal, whatever they ask for."""
    counts = Counter((example.source, min(len(example.calls), MANY)) for example in examples)
    table = Table("calls", box=box.SIMPLE, padding=0)
    for column in (*map(str, range(MANY)), f"{MANY}+", "all"):
        table.add_column(column, justify="right", no_wrap=True)
    for source in sorted({source for source, _ in counts}):
        numbers = [counts[source, calls] for calls in range(MANY + 1)]
        table.add_row(source, *(str(number or "") for number in numbers), str(sum(numbers)))
    return table


if __name__ == "__main__":
    app()
