"""Settings: what an operator chooses. Read once, from the command line, the environment and a TOML file, in that order.

A key that is not a setting, or a value that is not one of its values, is a `ConfigurationError` that names it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from grammars.errors import ConfigurationError

PREFIX = "POLYCALL_"
"""Before the name of a setting in the environment: `POLYCALL_PORT`."""

OTHER_VARIABLES = {"POLYCALL_CONFIG", "POLYCALL_CACHE"}
"""Variables with the prefix that are no settings: the file of settings, and where converted models are kept."""


MEMORY = "memory"
"""In place of the journal's URL: a journal that ends with the process."""


class KeySettings(BaseModel):
    """One API key, whose it is, and which of the server's tools it may use (`*` in a name stands for anything)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.-]{1,64}$")
    key: SecretStr = Field(min_length=1)
    allow_tools: list[str] | None = None
    deny_tools: list[str] = []


VLLM_ARGUMENTS = (
    "max_model_len",
    "gpu_memory_utilization",
    "block_size",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "distributed_executor_backend",
)
"""The settings that vLLM knows by the same name."""


DEFAULT_MODEL = "polycall-135m"
"""The model of the catalogue that polycall trained: it comes with the package, but for its base's weights."""


class Settings(BaseSettings):
    """All settings. Each field's description is its help text on the command line."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    model: str | None = Field(
        None,
        description="A name of the catalogue, a hub id, a folder, or a GGUF file [default where it runs here: "
        f"{DEFAULT_MODEL}].",
    )
    engine: Literal["transformers", "vllm", "remote", "scripted"] = Field(
        "transformers",
        description="What decodes: transformers, vllm in this process, a remote server of completions; 'scripted' "
        "needs no model and writes what its constraints allow.",
    )
    served_model_name: str | None = Field(None, description="The name under which clients ask for the model.")
    dialect: str | None = Field(
        None,
        description="How the model writes calls: json, hermes, mistral, mistral-tekken; by default told by its chat "
        "template.",
    )
    device: str = Field(
        "auto", description="Where the model runs: cpu, cuda, cuda:1; 'auto' takes CUDA if it is there."
    )
    dtype: str = Field("auto", description="The type of the weights: float32, bfloat16, float16; 'auto' as stored.")
    decoding: Literal["parallel", "sequential"] = Field(
        "parallel", description="How calls are decoded where a request does not say."
    )
    argument_heads: int = Field(
        0,
        ge=0,
        description="Of a model that was trained for it: each argument of a call is written by itself, where that "
        "makes at most so many branches [0: never].",
    )
    answer_by_result: bool | None = Field(
        None,
        description="Whether an answer that follows several results says each of them by itself, all in parallel "
        "[as the catalogue says of the model, otherwise not].",
    )
    tools: str | None = Field(
        None,
        pattern=r"^[\w.]+:\w+$|\.(toml|ya?ml)$",
        description="Tools that the server runs: a tools file, or module:attribute of a Registry.",
    )
    request_mcp: bool = Field(
        False,
        description="Whether requests may name MCP servers by URL, to which this server then connects. Off by default: "
        "it lets callers choose where this server sends requests.",
    )
    request_mcp_networks: list[IPv4Network | IPv6Network] = Field(
        [], description="Private networks in which such servers may be, such as 10.1.0.0/16; public addresses always."
    )
    host: str = Field("127.0.0.1", description="The address to listen on; 0.0.0.0 for all.")
    port: int = Field(8000, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")
    api_key: SecretStr | None = Field(
        None, min_length=1, description="The key that clients must send; best given as POLYCALL_API_KEY."
    )
    keys: list[KeySettings] = Field(
        [], description="More keys, each with a name and rules for the server's tools; in the file: [[keys]]."
    )
    journal: SecretStr | None = Field(
        None,
        min_length=1,
        description="Where turns are written down: sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME, or memory; "
        "by default a file of SQLite in the folder for state.",
    )
    body_limit_bytes: int = Field(8 * 2**20, ge=1, description="The largest body of a request, in bytes.")
    max_turns: int = Field(64, ge=1, description="How many requests may be answered at once; more get 503.")
    max_rounds: int = Field(8, ge=2, description="The most rounds of one request; the last one is text.")
    max_calls: int = Field(128, ge=1, description="After so many server-run calls a request gets no more.")
    max_result_bytes: int = Field(2**20, ge=1, description="The largest result of one call, in bytes of JSON.")
    turn_timeout_s: float = Field(600.0, gt=0, description="After so many seconds an answer ends with what it has.")
    max_streams: int = Field(128, ge=1, description="How many streams the engine decodes at once; others wait.")
    rows_mib: int = Field(2048, ge=1, description="Memory of the transformers engine for keys and values, in MiB.")

    max_model_len: int | None = Field(None, ge=1, description="vLLM: the longest context, in tokens.")
    gpu_memory_utilization: float | None = Field(None, gt=0, le=1, description="vLLM: its share of the GPU's memory.")
    block_size: int | None = Field(None, ge=1, description="vLLM: tokens in a block of its prefix cache [default: 32].")
    tensor_parallel_size: int | None = Field(None, ge=1, description="vLLM: GPUs that share each layer.")
    pipeline_parallel_size: int | None = Field(None, ge=1, description="vLLM: groups of layers on GPUs of their own.")
    data_parallel_size: int | None = Field(None, ge=1, description="vLLM: replicas; a turn stays on one of them.")
    distributed_executor_backend: Literal["mp", "ray"] | None = Field(
        None, description="vLLM: how its workers run; ray for several machines."
    )
    lora_modules: dict[str, Path] = Field(
        {},
        description="vLLM: LoRA adapters, served under their names: NAME=FOLDER; a remote server has its own folders.",
    )
    engine_args: dict[str, Any] = Field(
        {}, description="vLLM: any other of its engine arguments, by vLLM's names, as JSON."
    )

    base_urls: list[str] = Field([], description="Remote: the base URL of each replica, such as http://gpu:8000/v1.")
    remote_model: str | None = Field(None, description="Remote: the model's name there [default: as --model].")
    remote_api_key: SecretStr | None = Field(None, min_length=1, description="Remote: the key to send.")
    remote_form: Literal["vllm", "nim"] = Field(
        "vllm", description="Remote: how constraints are sent: vLLM's fields (NIM 2 too), or NIM 1's nvext."
    )
    remote_timeout_s: float = Field(120.0, gt=0, description="Remote: how long one completion may take.")

    @field_validator("lora_modules", mode="before")
    @classmethod
    def _read_modules(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            return given
        if not all(isinstance(module, str) and "=" in module for module in given):
            raise ValueError("each module is NAME=FOLDER")
        return dict(module.split("=", 1) for module in given)

    @field_validator("engine_args", mode="before")
    @classmethod
    def _read_arguments(cls, given: Any) -> Any:
        return json.loads(given) if isinstance(given, str) else given

    @property
    def vllm_arguments(self) -> dict[str, Any]:
        """What goes to vLLM by vLLM's own names."""
        named = {name: getattr(self, name) for name in VLLM_ARGUMENTS}
        return {**{name: value for name, value in named.items() if value is not None}, **self.engine_args}

    @property
    def journal_url(self) -> str:
        """The URL of the journal's database, or `MEMORY`."""
        if self.journal is not None:
            return self.journal.get_secret_value()
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        return f"sqlite:///{state / 'polycall' / 'journal.sqlite3'}"

    @property
    def served_name(self) -> str:
        """The name under which clients ask for the model."""
        return self.served_model_name or self.model or self.engine


def load_settings(given: Mapping[str, Any], config: Path | None = None) -> Settings:
    """The settings: `given` on the command line, else from the environment, else from the TOML file, else default.

    The file is `config`, or the one that `POLYCALL_CONFIG` names.
    """
    refuse_unknown_variables()
    path = config or (Path(named) if (named := os.environ.get("POLYCALL_CONFIG")) else None)
    if path is not None and not path.is_file():
        raise ConfigurationError(f"the file of settings {str(path)!r} does not exist")

    class Sources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    try:
        settings = Sources(**given)
    except ValidationError as error:
        raise ConfigurationError("; ".join(problems(error))) from None
    except (SettingsError, ValueError) as error:  # a TOML file that is none
        raise ConfigurationError(f"the settings cannot be read: {error}") from error
    if settings.model is None:
        if settings.engine == "remote":
            raise ConfigurationError("model: the engine 'remote' needs one")
        if settings.engine != "scripted":
            settings = settings.model_copy(update={"model": DEFAULT_MODEL})
    if settings.engine == "remote" and not settings.base_urls:
        raise ConfigurationError("base_urls: the engine 'remote' needs at least one")
    return settings


def refuse_unknown_variables() -> None:
    """Refuse variables with the prefix that mean nothing: a misspelt setting must not be ignored."""
    known = OTHER_VARIABLES | {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise ConfigurationError(f"unknown settings in the environment: {', '.join(unknown)}")


def problems(error: ValidationError) -> list[str]:
    """Each wrong setting by its name. The values stay out of it: one may be the key."""
    found = []
    for detail in error.errors(include_url=False, include_input=False):
        name = ".".join(map(str, detail["loc"]))
        found.append(f"unknown setting {name!r}" if detail["type"] == "extra_forbidden" else f"{name}: {detail['msg']}")
    return found
