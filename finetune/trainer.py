"""Trainer: a model learns from packed rows, on CPUs or GPUs, and can be killed at any time.

What is trained is an adapter or all of the weights; the loss is the weighted mean over all tokens of a step that count,
however it is cut into passes, and whoever reads them: of several processes, one for each GPU, each reads some of the
passes, and the gradients are added up once a step. A run goes on from the last checkpoint in its folder, with the
losses that it would have had without the break.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object, set_seed
from optimi import AdamW
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.utils import CONFIG_NAME
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.tensorboard import SummaryWriter
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from finetune.batches import Place, batches, passes
from finetune.checkpoints import latest_checkpoint, write_checkpoint
from finetune.row_model import losses_by_kind, row_losses, weighted_sum
from finetune.rows import Row, joined
from finetune.run_settings import refuse_other_settings, write_settings
from finetune.training_config import LoraSettings, TrainingConfig
from grammars.errors import ConfigurationError

LOSSES = "losses.jsonl"
"""The file of a run that has a line for each of its steps."""


@dataclass(frozen=True, kw_only=True)
class StepLoss:
    """What one step came to: the weighted mean loss, and the plain mean by what the lessons are for."""

    step: int
    loss: float
    kinds: dict[str, float]
    tokens: int


class Trainer:
    """One run in one folder. Made again on the same folder, it goes on.

    Started in several processes, such as by `accelerate launch`, the first one writes all there is to write. Raises
    `ConfigurationError` where the run has begun with other settings.
    """

    def __init__(self, config: TrainingConfig, model_folder: Path, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._accelerator = Accelerator(cpu=not torch.cuda.is_available())
        set_seed(config.seed)
        self._begun_from = latest_checkpoint(folder)
        if self._begun_from is not None:
            refuse_other_settings(folder, config)
        model = load_model(config, model_folder, self._begun_from)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        # It keeps what bfloat16 rounds away of each update (Kahan's sum, arXiv:2010.06192), so that no copy in float32
        # is needed, of an adapter or of all weights.
        optimizer = AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
        self._schedule = LambdaLR(optimizer, lambda step: rate_factor(step, config.warmup_steps, config.steps))
        # As if it were not to be trained: gradients are added up here, and not pass by pass, of which the processes may
        # have different numbers.
        self._model = self._accelerator.prepare_model(model, evaluation_mode=True)
        self._optimizer = self._accelerator.prepare_optimizer(optimizer)
        self.step, self._place = 0, Place()
        if self._begun_from is not None:
            self._resume(self._begun_from)

    def run(self, rows: Sequence[Row], heard: Callable[[StepLoss], None]) -> None:
        """Learn from the rows up to the last step; `heard` is told of each. Raises `ConfigurationError` where a
        checkpoint cannot be written.
        """
        sizes = [len(row) for row in rows]
        order = batches(sizes, self._config.batch_tokens, self._config.seed, self._place)
        with self._recording() as record:
            for chosen, place in order:
                if self.step >= self._config.steps:
                    break
                done = self._learn([rows[index] for index in chosen])
                self._place = place
                if not self._accelerator.is_main_process:
                    continue
                record(done)
                heard(done)
                if self.step % self._config.checkpoint_steps == 0 or self.step == self._config.steps:
                    write_checkpoint(self._folder, self.step, self._write)

    @contextmanager
    def _recording(self) -> Iterator[Callable[[StepLoss], None]]:
        """Writes what a step came to; of several processes only the first one does."""
        if not self._accelerator.is_main_process:
            yield lambda _: None
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        write_settings(self._folder, self._config)
        self._forget_after(self.step)
        with SummaryWriter(str(self._folder / "tensorboard")) as board, (self._folder / LOSSES).open("a") as losses:

            def record(done: StepLoss) -> None:
                losses.write(json.dumps(asdict(done)) + "\n")
                losses.flush()
                for name, value in {"loss": done.loss, **done.kinds}.items():
                    board.add_scalar(name, value, self.step)

            yield record

    def _learn(self, rows: Sequence[Row]) -> StepLoss:
        """One step, of which this process reads its share of the passes."""
        self._model.train()
        total = float(sum(row.weight.sum() for row in rows))
        loss_sum = 0.0
        found: dict[str, list[float]] = {}
        groups = passes(rows, self._config.pass_tokens)
        for group in groups[self._accelerator.process_index :: self._accelerator.num_processes]:
            row = joined(group)
            losses = row_losses(self._model, row, self._accelerator.device)
            loss = weighted_sum(losses, row) / total
            self._accelerator.backward(loss)
            loss_sum += float(loss.detach())
            for kind, its in losses_by_kind(losses.detach(), row).items():
                found.setdefault(kind, []).extend(its)
        if self._accelerator.num_processes > 1:
            add_up_gradients(self._model)
        self._accelerator.clip_grad_norm_(self._model.parameters(), self._config.largest_gradient)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
        self.step += 1
        shares: list[tuple[float, dict[str, list[float]]]] = gather_object([(loss_sum, found)])
        kinds = {
            kind: [loss for _, its in shares for loss in its.get(kind, [])]
            for kind in sorted({kind for _, its in shares for kind in its})
        }
        return StepLoss(
            step=self.step,
            loss=sum(share for share, _ in shares),
            kinds={kind: sum(its) / len(its) for kind, its in kinds.items()},
            tokens=sum(len(row) for row in rows),
        )

    def _write(self, folder: Path) -> None:
        model: Any = self._accelerator.unwrap_model(self._model)
        model.save_pretrained(folder)
        torch.save(
            {"optimizer": self._optimizer.state_dict(), "schedule": self._schedule.state_dict()}, folder / "state.pt"
        )
        (folder / "place.json").write_text(json.dumps({"step": self.step, **asdict(self._place)}))

    def _resume(self, checkpoint: Path) -> None:
        state = torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True)
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        place = json.loads((checkpoint / "place.json").read_text())
        self.step, self._place = place["step"], Place(epoch=place["epoch"], taken=place["taken"])

    def _forget_after(self, step: int) -> None:
        """Take back the losses of steps that will be done again."""
        path = self._folder / LOSSES
        if path.exists():
            kept = [line for line in whole_lines(path) if json.loads(line)["step"] <= step]
            path.write_text("".join(kept))


def whole_lines(path: Path) -> Iterator[str]:
    """The lines of a file; one that was cut short is none."""
    return (line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n"))


def add_up_gradients(model: torch.nn.Module) -> None:
    """The sum over all processes, in place; one that read nothing adds nothing."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)


def is_main_process() -> bool:
    """Whether this is the only process, or the first of several."""
    return bool(PartialState(cpu=not torch.cuda.is_available()).is_main_process)


def rate_factor(step: int, warmup_steps: int, steps: int) -> float:
    """The learning rate over its peak: up to it in a line, then down to a tenth of it in another."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 1.0 - 0.9 * (step - warmup_steps) / max(1, steps - warmup_steps)


def refuse_what_is_missing(config: TrainingConfig) -> None:
    """Raises `ConfigurationError` that names what the settings need and this machine lacks; loads nothing."""
    if config.quantize is None:
        return
    missing = [] if torch.cuda.is_available() else ["a GPU that torch can use through CUDA"]
    missing += [] if find_spec("bitsandbytes") else ["bitsandbytes (pip install bitsandbytes)"]
    if missing:
        raise ConfigurationError(
            f"quantize = {config.quantize!r} needs {' and '.join(missing)}; without it, remove quantize: plain LoRA"
        )


def load_model(config: TrainingConfig, folder: Path, checkpoint: Path | None) -> torch.nn.Module:
    """The weights to be trained: those of the model, with a new adapter, or those of a checkpoint.

    Raises `ConfigurationError` where this machine lacks what the settings need.
    """
    refuse_what_is_missing(config)
    dtype: torch.dtype = getattr(torch, config.dtype)
    quantization = None
    if config.quantize == "4bit":
        quantization = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    whole = checkpoint if checkpoint is not None and config.lora is None else folder
    # On CPUs torch's own kernel for attention is slow under a mask: it took 45 of 100 seconds of a step in bfloat16.
    attention = "sdpa" if torch.cuda.is_available() else "eager"
    model: Any = AutoModelForCausalLM.from_pretrained(
        whole, dtype=dtype, quantization_config=quantization, attn_implementation=attention
    )
    if config.recompute:
        # Its name of old warns where there is a new one. The reentrant kind would stop at the frozen embedding.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    if config.lora is None:
        return model  # type: ignore[no-any-return]
    new = new_adapter(config.lora)
    begun = checkpoint
    if begun is None and config.lora.adapter is not None:
        begun = Path(config.lora.adapter)
        refuse_other_adapter(begun, new)
    if begun is not None:
        return PeftModel.from_pretrained(model, begun, is_trainable=True, autocast_adapter_dtype=False)
    return get_peft_model(model, new, autocast_adapter_dtype=False)


def new_adapter(lora: LoraSettings) -> LoraConfig:
    return LoraConfig(
        r=lora.rank,
        lora_alpha=round(lora.rank * lora.scale),
        lora_dropout=lora.dropout,
        target_modules=lora.layers,
        task_type="CAUSAL_LM",
    )


def refuse_other_adapter(folder: Path, wanted: LoraConfig) -> None:
    """Raises `ConfigurationError` unless there is an adapter of the rank, the scale and the layers that are wanted."""
    if not (folder / CONFIG_NAME).is_file():
        raise ConfigurationError(f"lora.adapter: there is no adapter in {str(folder)!r}")
    found = PeftConfig.from_pretrained(str(folder))
    for name in ("peft_type", "r", "lora_alpha", "target_modules"):
        its, ours = getattr(found, name, None), getattr(wanted, name)
        if its != ours:
            raise ConfigurationError(
                f"lora.adapter: {name} of the one in {str(folder)!r} is {told(its)}, and by the settings {told(ours)}"
            )


def told(value: object) -> object:
    return ", ".join(sorted(value)) if isinstance(value, set) else value
