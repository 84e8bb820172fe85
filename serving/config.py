"""Settings: what an operator chooses. Read once, from the command line, the environment and a TOML file, in that order.

A key that is not a setting, or a value that is not one of its values, is a `ConfigurationError` that names it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
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


class Settings(BaseSettings):
    """All settings. Each field's description is its help text on the command line."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    model: str | None = Field(None, description="A name of the catalogue, a hub id, a folder, or a GGUF file.")
    engine: Literal["transformers", "scripted"] = Field(
        "transformers", description="What decodes; 'scripted' needs no model and writes what its constraints allow."
    )
    served_model_name: str | None = Field(None, description="The name under which clients ask for the model.")
    dialect: str | None = Field(
        None, description="How the model writes calls: json, hermes, mistral; by default told by its chat template."
    )
    device: str = Field(
        "auto", description="Where the model runs: cpu, cuda, cuda:1; 'auto' takes CUDA if it is there."
    )
    dtype: str = Field("auto", description="The type of the weights: float32, bfloat16, float16; 'auto' as stored.")
    decoding: Literal["parallel", "sequential"] = Field(
        "parallel", description="How calls are decoded where a request does not say."
    )
    tools: str | None = Field(
        None,
        pattern=r"^[\w.]+:\w+$|\.(toml|ya?ml)$",
        description="Tools that the server runs: a tools file, or module:attribute of a Registry.",
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
    rows_mib: int = Field(2048, ge=1, description="Memory for keys and values, in MiB.")

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
    if settings.engine == "transformers" and settings.model is None:
        raise ConfigurationError("model: the engine 'transformers' needs one")
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
