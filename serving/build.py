"""From settings to an application: the one place where all parts are put together."""

from __future__ import annotations

from fastapi import FastAPI

from grammars.dialects import dialect_named, dialect_of
from serving.api.app import ApiOptions, create_app
from serving.config import Settings
from serving.decode.round import Decoder
from serving.engines.build import build_engine
from serving.execute.execute import Executor
from serving.execute.tools_file import toolbox_named
from serving.turn import TurnLimits, TurnRunner


def build_app(settings: Settings) -> FastAPI:
    """The whole server but its socket. Loads the model. Raises `ConfigurationError` for what cannot be."""
    toolbox = toolbox_named(settings.tools)
    dialect = dialect_named(settings.dialect) if settings.dialect else None
    engine = build_engine(settings)
    runner = TurnRunner(
        Decoder(engine, dialect or dialect_of(engine.tokenizer)), Executor(toolbox.registry), turn_limits(settings)
    )
    api_key = settings.api_key.get_secret_value() if settings.api_key else None
    options = ApiOptions(api_key=api_key, body_limit_bytes=settings.body_limit_bytes, decoding=settings.decoding)
    return create_app(engine, runner, options, toolbox)


def turn_limits(settings: Settings) -> TurnLimits:
    return TurnLimits(
        rounds=settings.max_rounds,
        calls=settings.max_calls,
        wall_s=settings.turn_timeout_s,
        turns=settings.max_turns,
    )
