"""A run goes on with the settings with which it began, and says which one is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.checkpoints import latest_checkpoint
from finetune.run_settings import SETTINGS, refuse_other_settings, write_settings
from finetune.trainer import Trainer
from finetune.training_config import LoraSettings, WeightSettings
from grammars.errors import ConfigurationError
from tests.finetune.training_run import config, examples, model_folder

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.mark.parametrize("changed", [{}, {"steps": 10}, {"checkpoint_steps": 1}, {"recompute": True}])
def test_run_goes_on_with_its_settings_more_steps_or_what_changes_nothing(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    write_settings(tmp_path, config(9))
    refuse_other_settings(tmp_path, config(9).model_copy(update=changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"steps": 8}, "steps was 9, not 8"),
        ({"learning_rate": 0.5}, "learning_rate was 0.01, not 0.5"),
        ({"lora": LoraSettings(rank=8)}, "lora.rank was 4, not 8"),
        ({"lora": None}, "lora.rank was 4, not null"),
        ({"weights": WeightSettings(tally=9.0)}, "weights.tally was 4.0, not 9.0"),
        ({"seed": 2, "packed": False}, "packed was true, not false; seed was 1, not 2"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    write_settings(tmp_path, config(9))
    with pytest.raises(ConfigurationError, match="has begun with other settings") as refused:
        refuse_other_settings(tmp_path, config(9).model_copy(update=changed))
    assert said in str(refused.value)


def test_settings_of_another_version_are_told(tmp_path: Path) -> None:
    refuse_other_settings(tmp_path, config(9))  # a run of before settings were kept
    (tmp_path / SETTINGS).write_text('{"model": "small", "steps": 9, "unheard_of": 1}')
    with pytest.raises(ConfigurationError, match=r"settings\.json: they are not of this version"):
        refuse_other_settings(tmp_path, config(9))


def test_trainer_refuses_before_it_loads_anything_and_the_run_is_not_touched(tmp_path: Path) -> None:
    models, folder = model_folder(tmp_path), tmp_path / "run"
    Trainer(config(3), models, folder).run(examples(), lambda _: None)
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError, match="learning_rate"):
        Trainer(config(4, learning_rate=0.5), tmp_path / "no model", folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == kept
    done: list[int] = []
    Trainer(config(4), models, folder).run(examples(), lambda loss: done.append(loss.step))
    assert done == [4]


def test_run_that_came_to_no_checkpoint_may_begin_anew(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    write_settings(folder, config(3, learning_rate=0.5))
    assert latest_checkpoint(folder) is None
    Trainer(config(3), model_folder(tmp_path), folder).run(examples(), lambda _: None)
    refuse_other_settings(folder, config(3))
