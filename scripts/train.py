"""Training, from rows of function-calling data to a model that is served:

scripts/train CONFIG --data FILE [--data FILE ...] --output FOLDER

The folder gets `run/`, with checkpoints, losses.jsonl and a log for tensorboard, and at the end `model/`. The same
command goes on with a run that was broken off. On several GPUs:

.venv/bin/accelerate launch --num_processes 2 scripts/train.py CONFIG --data FILE --output FOLDER
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from data_files import examples_to_train_on, tell_left_out
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from finetune.checkpoints import latest_checkpoint
from finetune.layouts import rows_in_layout
from finetune.lessons import answer_lessons, example_lessons
from finetune.readers.example import Example
from finetune.rows import Row
from finetune.selection import selected
from finetune.trainer import StepLoss, Trainer, is_main_process, refuse_what_is_missing
from finetune.training_config import TrainingConfig, load_training_config
from grammars.dialects import Dialect, trained_dialect
from grammars.errors import ConfigurationError, PolycallError, RequestError
from grammars.tokenizer import Tokenizer
from serving.engines.transformers.tokenizer import load_tokenizer
from serving.models.catalogue import resolve_model
from serving.models.trained import write_trained

app = typer.Typer(add_completion=False)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="The settings of the run, as TOML")],
    data: Annotated[list[Path], typer.Option(help="A file of rows, as scripts/eval cases reads them; may be repeated")],
    output: Annotated[Path, typer.Option(help="The folder of the run and of the model")],
    skip: Annotated[bool, typer.Option(help="Leave out rows that cannot be used, in place of ending there")] = False,
) -> None:
    """Train a model on rows of data, and write it as a folder that can be served."""
    console = Console(stderr=True, quiet=not is_main_process())
    try:
        settings = load_training_config(config)
        refuse_what_is_missing(settings)
        base = resolve_model(settings.model)
        tokenizer, _ = load_tokenizer(base)
        dialect = trained_dialect(tokenizer)
        read = examples_to_train_on(data, console, skip=skip)
        examples = selected(read, settings.examples)
        if len(examples) < len(read):
            console.print(f"{len(read) - len(examples)} examples are not {settings.examples!r}, and left out")
        rows = rows_of(examples, dialect, tokenizer, settings, console, skip=skip)
        run = output / "run"
        learn(Trainer(settings, base, run), rows, settings, console)
        if not is_main_process():
            return
        checkpoint = latest_checkpoint(run)
        assert checkpoint is not None  # the last step writes one
        write_trained(base, checkpoint, output / "model", dialect)
    except PolycallError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print(f"the model is in {output / 'model'}: scripts/serve --model {output / 'model'}")


def rows_of(
    examples: list[Example],
    dialect: Dialect,
    tokenizer: Tokenizer,
    settings: TrainingConfig,
    console: Console,
    *,
    skip: bool,
) -> list[Row]:
    """Each example as packed rows, one for each prompt, or as a row for each stream, of the calls that need no other's
    result.

    Raises `ConfigurationError` where there is nothing to learn from, and, unless `skip` leaves it out, for an example
    that cannot be taught or is longer than the settings allow.
    """
    taught, reasons = 0, []
    rows: list[Row] = []
    with Progress(console=console) as progress:
        for number, example in enumerate(progress.track(examples, description="packing")):
            try:
                made = rows_of_example(example, dialect, tokenizer, settings, number)
                longest = max(map(len, made), default=0)
                if not made:
                    raise RequestError("there is nothing to learn from it")
                if longest > settings.example_tokens:
                    raise RequestError(f"its {longest} tokens are more than example_tokens, {settings.example_tokens}")
            except (PolycallError, ValueError) as error:
                if not skip:
                    raise ConfigurationError(f"{example.id} of {example.source}: {error}") from error
                reasons.append(f"{example.id} of {example.source}: {error}")
            else:
                rows += made
                taught += 1
    tell_left_out(reasons, console)
    if not rows:
        raise ConfigurationError("there is no example to learn from")
    tokens = sum(map(len, rows))
    console.print(f"{taught} examples, {len(rows)} rows, {tokens} tokens, {tokens // taught} each")
    return rows


def rows_of_example(
    example: Example, dialect: Dialect, tokenizer: Tokenizer, settings: TrainingConfig, number: int
) -> list[Row]:
    """The rows of one example: of its calls, and of its answer in text, which serving writes on another prompt.

    An example that would be too long leaves out what others leave out by chance.
    """
    calls = example.waves[0] if example.waves else ()
    text = "" if calls else example.text  # what is said beside calls is no answer
    rows: list[Row] = []
    for weights in (settings.weights_of(number), settings.least_weights):
        taught = [
            example_lessons(example.conversation, calls, dialect, tokenizer, weights, text=text),
            answer_lessons(example.conversation, text, dialect, tokenizer, weights),
        ]
        rows = [row for prefix, lessons in taught for row in rows_in_layout(prefix, lessons, packed=settings.packed)]
        if max(map(len, rows), default=0) <= settings.example_tokens:
            break
    return rows


def learn(trainer: Trainer, rows: list[Row], settings: TrainingConfig, console: Console) -> None:
    """Train to the last step, with a bar and the losses beside it."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=settings.steps, completed=trainer.step)

        def heard(done: StepLoss) -> None:
            kinds = ", ".join(f"{kind} {loss:.3f}" for kind, loss in done.kinds.items())
            progress.update(task, completed=done.step, description=f"loss {done.loss:.3f} ({kinds})")

        trainer.run(rows, heard)


if __name__ == "__main__":
    app()
