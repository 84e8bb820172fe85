"""From settings to an application: the one place where all parts are put together."""

from __future__ import annotations

from fastapi import FastAPI

from grammars.dialects import dialect_named, dialect_of
from grammars.errors import ConfigurationError
from serving.api.app import ApiOptions, create_app
from serving.callers import ApiKey, Caller
from serving.config import MEMORY, Settings
from serving.decode.round import DecodeOptions, Decoder
from serving.engines.build import build_engine
from serving.execute.addresses import AllowedAddresses
from serving.execute.database.journal import DatabaseJournal
from serving.execute.execute import ExecutionLimits, Executor
from serving.execute.journal import Journal
from serving.execute.journal_memory import MemoryJournal
from serving.execute.mcp.by_request import RequestServers
from serving.execute.tools_file import toolbox_named
from serving.models.catalogue import answers_by_result
from serving.turn_request import TurnLimits
from serving.turn_runner import TurnRunner


def build_app(settings: Settings) -> FastAPI:
    """The whole server but its socket. Loads the model. Raises `ConfigurationError` for what cannot be."""
    toolbox = toolbox_named(settings.tools)
    keys, journal = api_keys(settings), journal_of(settings)
    dialect = dialect_named(settings.dialect) if settings.dialect else None
    engine = build_engine(settings)
    executor = Executor(toolbox.registry, ExecutionLimits(result_bytes=settings.max_result_bytes))
    decoder = Decoder(engine, dialect or dialect_of(engine.tokenizer), decode_options(settings))
    runner = TurnRunner(decoder, executor, turn_limits(settings), journal, server_opener(settings))
    api = ApiOptions(keys=keys, body_limit_bytes=settings.body_limit_bytes, decoding=settings.decoding)
    return create_app(engine, runner, api, toolbox)


def decode_options(settings: Settings) -> DecodeOptions:
    by_result = settings.answer_by_result
    return DecodeOptions(
        argument_heads=settings.argument_heads,
        answer_by_result=answers_by_result(settings.model) if by_result is None else by_result,
    )


def turn_limits(settings: Settings) -> TurnLimits:
    return TurnLimits(
        rounds=settings.max_rounds,
        calls=settings.max_calls,
        wall_s=settings.turn_timeout_s,
        turns=settings.max_turns,
    )


def server_opener(settings: Settings) -> RequestServers | None:
    """What connects to the servers that requests name, if they may name any."""
    if not settings.request_mcp:
        if settings.request_mcp_networks:
            raise ConfigurationError("request_mcp_networks: of use only with request_mcp")
        return None
    return RequestServers(AllowedAddresses(private=tuple(settings.request_mcp_networks)))


def journal_of(settings: Settings) -> Journal:
    return MemoryJournal() if settings.journal_url == MEMORY else DatabaseJournal(settings.journal_url)


def api_keys(settings: Settings) -> tuple[ApiKey, ...]:
    """All keys. Raises `ConfigurationError` for a name or a key that stands for two callers."""
    keys = [
        ApiKey(
            key=one.key.get_secret_value(),
            caller=Caller(
                name=one.name,
                allow=None if one.allow_tools is None else tuple(one.allow_tools),
                deny=tuple(one.deny_tools),
            ),
        )
        for one in settings.keys
    ]
    if settings.api_key is not None:
        keys.append(ApiKey(key=settings.api_key.get_secret_value()))
    for name in {key.caller.name for key in keys}:
        if [key.caller.name for key in keys].count(name) > 1:
            raise ConfigurationError(f"keys: two have the name {name!r}")
    if len({key.key for key in keys}) < len(keys):
        raise ConfigurationError("keys: two callers have the same key")
    return tuple(keys)
