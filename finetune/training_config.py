"""TrainingConfig: one run of training, as a TOML file says it. A key that means nothing is refused by name."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from finetune.lessons import Weights
from finetune.selection import Selection
from grammars.errors import ConfigurationError

Positive = Annotated[int, Field(ge=1)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LoraSettings(Part):
    """A low-rank adapter (arXiv:2106.09685) on these layers, by the ends of their names; `scale` is alpha over rank.

    `adapter` is the folder of one to go on from, in place of a new one: of this rank, this scale, and these layers.
    """

    rank: Positive = 64
    scale: Annotated[float, Field(gt=0)] = 2.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    layers: list[str] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapter: str | None = None


class WeightSettings(Part):
    """How much a token counts, by what its stream is for: see `finetune.lessons.Weights`."""

    tally: Annotated[float, Field(ge=0)] = 4.0
    tally_of_none: Annotated[float, Field(ge=0)] = 1.0
    outline: Annotated[float, Field(ge=0)] = 1.0
    call: Annotated[float, Field(ge=0)] = 1.0
    numbered_call: Annotated[float, Field(ge=0)] = 1.0
    telling: Annotated[float, Field(gt=0)] = 1.0
    argument: Annotated[float, Field(ge=0)] = 0.0
    sequential: Annotated[float, Field(ge=0)] = 1.0
    text: Annotated[float, Field(ge=0)] = 1.0

    @property
    def weights(self) -> Weights:
        return Weights(**self.model_dump())


Share = Annotated[float, Field(ge=0, le=1)]


class ShareSettings(Part):
    """In which share of the examples streams of a kind are taught; the others leave these out.

    The streams of one example say much the same. A step that leaves some out learns from more examples.
    """

    outline: Share = 1.0
    call: Share = 1.0
    numbered_call: Share = 1.0
    sequential: Share = 1.0
    argument: Share = 1.0

    def drawn(self, weights: Weights, random: Random) -> Weights:
        """The weights for one example: 0 for the kinds that it leaves out."""
        left_out = [name for name, share in self.model_dump().items() if random.random() >= share]
        return replace(weights, **dict.fromkeys(left_out, 0.0))

    def least(self, weights: Weights) -> Weights:
        """The weights for an example that leaves out all that may be left out."""
        left_out = [name for name, share in self.model_dump().items() if share < 1]
        return replace(weights, **dict.fromkeys(left_out, 0.0))


class TrainingConfig(Part):
    """What is trained, on which steps, and how.

    A step learns from examples of about `batch_tokens` packed tokens, read in passes of at most `pass_tokens`, or of
    one row that is longer; an example with a row of more than `example_tokens` is refused. Attention within a pass
    takes time by the square of its tokens: on a CPU short passes are the faster ones. Without `lora` all weights are
    trained. `quantize` loads the frozen weights in four bits (QLoRA, arXiv:2305.14314), which needs CUDA. With
    `recompute` a pass keeps only what goes into each layer, and the rest is computed once more on the way back: a third
    more time, a tenth of the memory.

    `weights` and `shares` say what is taught of an example, and `examples` which of them are taken, see
    `finetune.selection`. Unless `packed`, every stream of an example is a row of its own; a step then learns from fewer
    of them.
    """

    model: str
    steps: Positive
    batch_tokens: Positive = 4096
    pass_tokens: Positive = 2048
    example_tokens: Positive = 2048
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    largest_gradient: Annotated[float, Field(gt=0)] = 1.0
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    quantize: Literal["4bit"] | None = None
    recompute: bool = False
    lora: LoraSettings | None = None
    examples: Selection = "all"
    packed: bool = True
    weights: WeightSettings = WeightSettings()
    shares: ShareSettings = ShareSettings()
    checkpoint_steps: Positive = 50
    seed: int = 1

    def weights_of(self, number: int) -> Weights:
        """How much the tokens of the example of this number count: the same in every run with the same seed."""
        return self.shares.drawn(self.weights.weights, Random(f"{self.seed}/{number}"))

    @property
    def least_weights(self) -> Weights:
        """Those of an example that would be too long otherwise."""
        return self.shares.least(self.weights.weights)

    @model_validator(mode="after")
    def _quantized_weights_are_not_trained(self) -> TrainingConfig:
        if self.quantize is not None and self.lora is None:
            raise ValueError("quantize freezes the weights, so there must be an adapter to train: [lora]")
        return self


def load_training_config(path: Path) -> TrainingConfig:
    """The file's settings. Raises `ConfigurationError` that names the file and the key at fault."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    try:
        return TrainingConfig.model_validate(given)
    except ValidationError as error:
        said = "; ".join(map(fault, error.errors(include_url=False)))
        raise ConfigurationError(f"{path}: {said}") from None


def fault(detail: ErrorDetails) -> str:
    """What is wrong, after the setting's name where it is one that is wrong."""
    said = "no such setting" if detail["type"] == "extra_forbidden" else detail["msg"].removeprefix("Value error, ")
    return ": ".join([*filter(None, [".".join(map(str, detail["loc"]))]), said])
