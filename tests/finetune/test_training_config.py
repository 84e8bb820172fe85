"""A run's settings are read whole, and what means nothing is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.training_config import load_training_config
from grammars.errors import ConfigurationError


def written(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_settings_are_read_with_their_parts(tmp_path: Path) -> None:
    text = 'model = "smollm2-135m"\nsteps = 10\n[lora]\nrank = 8\n[weights]\ntally = 9.0\n'
    config = load_training_config(written(tmp_path, text))
    assert (config.model, config.steps, config.learning_rate) == ("smollm2-135m", 10, 2e-4)
    assert config.lora is not None
    assert (config.lora.rank, config.lora.scale) == (8, 2.0)
    assert (config.weights.weights.tally, config.weights.weights.call) == (9.0, 1.0)
    assert (config.examples, config.packed, config.weights.weights.argument) == ("all", True, 0.0)


def test_shares_leave_kinds_of_streams_out_of_some_examples_the_same_ones_every_time(tmp_path: Path) -> None:
    text = 'model = "m"\nsteps = 1\n[shares]\noutline = 0.25\ncall = 0.0\n'
    config = load_training_config(written(tmp_path, text))
    drawn = [config.weights_of(number) for number in range(400)]
    assert drawn == [config.weights_of(number) for number in range(400)]
    assert {(one.call, one.numbered_call, one.sequential, one.tally) for one in drawn} == {(0.0, 1.0, 1.0, 4.0)}
    assert 70 < sum(one.outline > 0 for one in drawn) < 130
    least = config.least_weights
    assert (least.outline, least.call, least.numbered_call, least.sequential, least.tally) == (0.0, 0.0, 1.0, 1.0, 4.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('model = "m"\nsteps = 1\n[shares]\ncall = 1.5', "shares.call: Input should be less than or equal to 1"),
        ('model = "m"\nsteps = 1\n[shares]\ntally = 0.5', "shares.tally: no such setting"),
        ('model = "m"\nsteps = 1\n[weights]\ntelling = 0.0', "weights.telling: Input should be greater than 0"),
        ("steps = 1", "model: Field required"),
        ('model = "m"\nsteps = 0', "steps: Input should be greater than or equal to 1"),
        ('model = "m"\nsteps = 1\nspeed = 3', "speed: no such setting"),
        ('model = "m"\nsteps = 1\n[lora]\nrang = 3', "lora.rang: no such setting"),
        ('model = "m"\nsteps = 1\nexamples = "few"', "examples: Input should be 'all', 'with-calls' or 'single-call'"),
        ('model = "m"\nsteps = "many"', "steps: Input should be a valid integer"),
        ('model = "m"\nsteps = 1\nquantize = "4bit"', r"toml: quantize freezes the weights, .* \[lora\]"),
        ("steps = ", "Invalid value"),
    ],
)
def test_bad_settings_are_refused_by_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError, match=said) as refused:
        load_training_config(path)
    assert str(path) in str(refused.value)


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml"):
        load_training_config(tmp_path / "nowhere.toml")
