"""The command line: `polycall serve`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn

from grammars.errors import ConfigurationError
from serving.build import build_app
from serving.config import Settings, load_settings
from serving.startup import PlainStartup

SHUTDOWN_S = 10
"""How long answers that are being written may go on after the server was told to stop."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def polycall() -> None:
    """Serves an open model that calls many tools at once."""


def setting(name: str) -> Any:
    """The option for a setting, with the setting's own help text and default."""
    field = Settings.model_fields[name]
    default = "" if field.default in (None, [], {}) else f" [default: {field.default}]"
    return typer.Option(help=f"{field.description}{default}", show_default=False)


@app.command()
def serve(
    model: Annotated[str | None, setting("model")] = None,
    engine: Annotated[str | None, setting("engine")] = None,
    served_model_name: Annotated[str | None, setting("served_model_name")] = None,
    dialect: Annotated[str | None, setting("dialect")] = None,
    device: Annotated[str | None, setting("device")] = None,
    dtype: Annotated[str | None, setting("dtype")] = None,
    decoding: Annotated[str | None, setting("decoding")] = None,
    argument_heads: Annotated[int | None, setting("argument_heads")] = None,
    answer_by_result: Annotated[bool | None, setting("answer_by_result")] = None,
    tools: Annotated[str | None, setting("tools")] = None,
    request_mcp: Annotated[bool | None, setting("request_mcp")] = None,
    request_mcp_networks: Annotated[list[str] | None, setting("request_mcp_networks")] = None,
    host: Annotated[str | None, setting("host")] = None,
    port: Annotated[int | None, setting("port")] = None,
    api_key: Annotated[str | None, setting("api_key")] = None,
    journal: Annotated[str | None, setting("journal")] = None,
    body_limit_bytes: Annotated[int | None, setting("body_limit_bytes")] = None,
    max_turns: Annotated[int | None, setting("max_turns")] = None,
    max_rounds: Annotated[int | None, setting("max_rounds")] = None,
    max_calls: Annotated[int | None, setting("max_calls")] = None,
    max_result_bytes: Annotated[int | None, setting("max_result_bytes")] = None,
    turn_timeout_s: Annotated[float | None, setting("turn_timeout_s")] = None,
    max_streams: Annotated[int | None, setting("max_streams")] = None,
    rows_mib: Annotated[int | None, setting("rows_mib")] = None,
    max_model_len: Annotated[int | None, setting("max_model_len")] = None,
    gpu_memory_utilization: Annotated[float | None, setting("gpu_memory_utilization")] = None,
    block_size: Annotated[int | None, setting("block_size")] = None,
    tensor_parallel_size: Annotated[int | None, setting("tensor_parallel_size")] = None,
    pipeline_parallel_size: Annotated[int | None, setting("pipeline_parallel_size")] = None,
    data_parallel_size: Annotated[int | None, setting("data_parallel_size")] = None,
    distributed_executor_backend: Annotated[str | None, setting("distributed_executor_backend")] = None,
    lora_modules: Annotated[list[str] | None, setting("lora_modules")] = None,
    engine_args: Annotated[str | None, setting("engine_args")] = None,
    base_urls: Annotated[list[str] | None, setting("base_urls")] = None,
    remote_model: Annotated[str | None, setting("remote_model")] = None,
    remote_api_key: Annotated[str | None, setting("remote_api_key")] = None,
    remote_form: Annotated[str | None, setting("remote_form")] = None,
    remote_timeout_s: Annotated[float | None, setting("remote_timeout_s")] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of settings, named as the options are but with underscores.")
    ] = None,
) -> None:
    """Serve a model over OpenAI's API.

    Every option can also be set in the environment (POLYCALL_PORT) or in the file of settings (port = 8000).
    """
    options = {name: value for name, value in locals().items() if name in Settings.model_fields and value is not None}
    sys.path.insert(0, os.getcwd())  # where --tools looks first, as `python -m` does
    try:
        settings = load_settings(options, config)
        application = build_app(settings)
    except ConfigurationError as error:
        typer.echo(f"polycall: {error}", err=True)
        raise typer.Exit(2) from None
    uvicorn.run(PlainStartup(application), host=settings.host, port=settings.port, timeout_graceful_shutdown=SHUTDOWN_S)


if __name__ == "__main__":
    app()
