"""Training learns, goes on after a kill with the losses that it would have had, and loses no checkpoint."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finetune.checkpoints import KEPT, latest_checkpoint, write_checkpoint
from finetune.trainer import LOSSES, StepLoss, Trainer, rate_factor
from finetune.training_config import LoraSettings
from grammars.errors import ConfigurationError
from tests.finetune import training_run
from tests.finetune.training_run import config, examples, model_folder

# peft asks for an attribute that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / LOSSES).read_text().splitlines()]


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / LOSSES).read_text().splitlines()]


@dataclass
class Run:
    """A run in a process of its own."""

    process: BaseProcess
    heard: Connection

    def said(self) -> list[int | str]:
        """All that it says until it is over."""
        found: list[int | str] = []
        with suppress(EOFError):
            while True:
                found.append(self.heard.recv())
        self.process.join(60)
        assert self.process.exitcode == 0
        return found


CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.finetune.training_run"])


def started(folder: Path, count: int, most_bytes: int | None = None) -> Run:
    folder.mkdir(exist_ok=True)
    heard, say = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=training_run.run, args=(folder, count, say, most_bytes))
    process.start()
    say.close()
    return Run(process, heard)


@pytest.mark.parametrize(("lora", "left"), [(True, 0.95), (False, 0.3)], ids=["adapter", "all weights"])
def test_training_learns_what_the_rows_teach(tmp_path: Path, lora: bool, left: float) -> None:
    heard: list[StepLoss] = []
    folder = tmp_path / "run"
    Trainer(config(60, lora=lora, checkpoint_steps=60), model_folder(tmp_path), folder).run(examples(), heard.append)
    assert [done.step for done in heard] == list(range(1, 61))
    assert heard[-1].loss < left * heard[0].loss
    assert set(heard[0].kinds) == {"tally", "call"}
    assert losses(folder) == [done.loss for done in heard]
    assert list((folder / "tensorboard").iterdir())


def test_run_that_is_killed_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    whole, killed = started(tmp_path / "whole", 11), started(tmp_path / "killed", 11)
    while killed.heard.recv() != 8:  # two steps after the checkpoint of step 6
        pass
    assert killed.process.pid is not None
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.process.join()
    assert max(steps(tmp_path / "killed" / "run")) >= 8
    assert started(tmp_path / "killed", 11).said() == [7, 8, 9, 10, 11]
    assert whole.said() == list(range(1, 12))
    assert steps(tmp_path / "killed" / "run") == list(range(1, 12))
    assert losses(tmp_path / "killed" / "run") == pytest.approx(losses(tmp_path / "whole" / "run"), abs=1e-6)


def test_cutting_a_step_into_passes_changes_nothing(tmp_path: Path) -> None:
    found = []
    for name, pass_tokens in (("one", 500), ("many", 30)):
        folder = tmp_path / name
        made = config(6, pass_tokens=pass_tokens, checkpoint_steps=6)
        Trainer(made, model_folder(tmp_path), folder).run(examples(), lambda _: None)
        found.append(losses(folder))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


@pytest.mark.parametrize("lora", [True, False], ids=["adapter", "all weights"])
def test_computing_layers_once_more_changes_nothing(tmp_path: Path, lora: bool) -> None:
    found = []
    for recompute in (False, True):
        folder = tmp_path / str(recompute)
        made = config(6, lora=lora, recompute=recompute, checkpoint_steps=6)
        Trainer(made, model_folder(tmp_path), folder).run(examples(), lambda _: None)
        found.append(losses(folder))
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert found[0][-1] != pytest.approx(found[0][0], abs=1e-5)


@pytest.mark.parametrize("lora", [True, False], ids=["adapter", "all weights"])
def test_what_bfloat16_rounds_away_of_each_step_adds_up_also_over_a_break(tmp_path: Path, lora: bool) -> None:
    made, models = (
        config(12, lora=lora, dtype="bfloat16", learning_rate=1e-3, checkpoint_steps=6),
        model_folder(tmp_path),
    )
    Trainer(made, models, tmp_path / "whole").run(examples(), lambda _: None)

    def broken_off(done: StepLoss) -> None:
        if done.step == 8:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Trainer(made, models, tmp_path / "broken").run(examples(), broken_off)
    Trainer(made, models, tmp_path / "broken").run(examples(), lambda _: None)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    if not lora:
        weights = load_file(tmp_path / "whole" / "step-00000012" / "model.safetensors")["model.norm.weight"]
        assert weights.dtype == torch.bfloat16
        assert (weights != 1).any()  # no step alone is as large as half of what bfloat16 tells from 1


def test_disk_that_is_full_is_told_and_costs_no_checkpoint(tmp_path: Path) -> None:
    assert started(tmp_path, 3).said() == [1, 2, 3]
    *_, said = started(tmp_path, 9, most_bytes=20_000).said()
    assert "the checkpoint of step 6 cannot be written" in str(said)
    assert "the one before it, step-00000003, is whole" in str(said)
    assert started(tmp_path, 9).said() == [4, 5, 6, 7, 8, 9]
    assert steps(tmp_path / "run") == list(range(1, 10))


def test_several_processes_come_to_the_losses_of_one_and_the_first_one_writes(tmp_path: Path) -> None:
    model_folder(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runs = []
    for number in range(2):
        heard, say = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=training_run.run_as_one_of, args=(number, 2, port, tmp_path, say))
        process.start()
        say.close()
        runs.append(Run(process, heard))
    assert [one.said() for one in runs] == [[1, 2, 3, 4], []]
    Trainer(config(4), model_folder(tmp_path), tmp_path / "one").run(examples(), lambda _: None)
    together = [json.loads(line) for line in (tmp_path / "run" / LOSSES).read_text().splitlines()]
    alone = [json.loads(line) for line in (tmp_path / "one" / LOSSES).read_text().splitlines()]
    assert together == [
        {**step, "loss": pytest.approx(step["loss"], abs=1e-6), "kinds": pytest.approx(step["kinds"], abs=1e-6)}
        for step in alone
    ]
    assert sorted(path.name for path in (tmp_path / "run").glob("step-*")) == ["step-00000003", "step-00000004"]


def test_run_goes_on_from_an_adapter_where_that_stood(tmp_path: Path) -> None:
    made, models = config(6, checkpoint_steps=6), model_folder(tmp_path)
    Trainer(made, models, tmp_path / "first").run(examples(), lambda _: None)
    learned = latest_checkpoint(tmp_path / "first")
    lora = LoraSettings(rank=4, adapter=str(learned))
    still = config(1, lora=lora, learning_rate=1e-9)
    again = config(1, learning_rate=1e-9)
    Trainer(still, models, tmp_path / "second").run(examples(), lambda _: None)
    Trainer(again, models, tmp_path / "new").run(examples(), lambda _: None)
    [from_adapter], [from_nothing] = losses(tmp_path / "second"), losses(tmp_path / "new")
    assert from_nothing == losses(tmp_path / "first")[0]
    assert from_adapter < from_nothing


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"rank": 8}, "r of the one in '.*' is 4, and by the settings 8"),
        ({"rank": 4, "scale": 1.0}, "lora_alpha of the one in '.*' is 8, and by the settings 4"),
        (
            {"rank": 4, "layers": ["q_proj"]},
            "target_modules of the one in '.*' is down_proj, .*, and by the settings q_proj",
        ),
    ],
)
def test_adapter_of_other_settings_is_refused_by_name(tmp_path: Path, lora: dict[str, Any], said: str) -> None:
    models = model_folder(tmp_path)
    Trainer(config(1), models, tmp_path / "first").run(examples(), lambda _: None)
    learned = str(latest_checkpoint(tmp_path / "first"))
    with pytest.raises(ConfigurationError, match=said):
        Trainer(config(1, lora=LoraSettings(**lora, adapter=learned)), models, tmp_path / "second")


def test_adapter_that_is_not_there_is_named(tmp_path: Path) -> None:
    lora = LoraSettings(rank=4, adapter="nowhere")
    with pytest.raises(ConfigurationError, match=r"lora\.adapter: there is no adapter in 'nowhere'"):
        Trainer(config(1, lora=lora), model_folder(tmp_path), tmp_path / "run")


def test_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    made, models, folder = config(3), model_folder(tmp_path), tmp_path / "run"
    Trainer(made, models, folder).run(examples(), lambda _: None)
    heard: list[StepLoss] = []
    Trainer(made, models, folder).run(examples(), heard.append)
    assert heard == []


def test_learning_rate_rises_to_its_peak_and_falls_to_a_tenth() -> None:
    factors = [rate_factor(step, 10, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] == pytest.approx(0.11)


# Checkpoints


def test_latest_checkpoints_stay_and_unfinished_ones_do_not_count(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        write_checkpoint(tmp_path, step, lambda folder: (folder / "file").write_text("whole") and None)
    assert len(list(tmp_path.iterdir())) == KEPT
    (tmp_path / "step-00000011.unfinished").mkdir()
    latest = latest_checkpoint(tmp_path)
    assert latest is not None
    assert latest.name == "step-00000010"
    assert latest_checkpoint(tmp_path / "nowhere") is None


def test_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError("no space left")

    with pytest.raises(ConfigurationError, match="step 5 cannot be written: no space left; there is none before it"):
        write_checkpoint(tmp_path, 5, fail)
    assert list(tmp_path.iterdir()) == []
