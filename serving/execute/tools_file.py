"""The tools file: one TOML or YAML file that says which tools the server has, and what is known of them.

Its form is the models of `declared.py`. Secrets stand in the environment, and their names here. Files and folders are
relative to the file.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from grammars.errors import ConfigurationError
from serving.execute.addresses import AllowedAddresses
from serving.execute.declared import FunctionEntry, McpEntry, OpenApiEntry, SourceEntry, ToolsFile, Value
from serving.execute.facts import Resource
from serving.execute.mcp.source import ChildProcess, HttpServer, McpSource
from serving.execute.offered import Selection
from serving.execute.openapi.source import HttpService, OpenApiSource, is_url
from serving.execute.registry import Registry, registry_named
from serving.execute.secret import Secret, read_secret
from serving.execute.sources import ToolSource
from serving.execute.toolbox import Toolbox

SUFFIXES = (".toml", ".yaml", ".yml")


def toolbox_named(name: str | None) -> Toolbox:
    """The tools of a setting: a tools file, `module:attribute` of a `Registry`, or none at all."""
    if name is None:
        return Toolbox()
    if name.endswith(SUFFIXES):
        return read_tools_file(Path(name))
    return Toolbox(registry=registry_named(name))


def read_tools_file(path: Path) -> Toolbox:
    """The tools that a file declares. Raises `ConfigurationError` that names the file and the place at fault."""
    try:
        text = path.read_text(encoding="utf-8")
        read = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(f"the tools file {str(path)!r} cannot be read: {error}") from error
    try:
        declared = ToolsFile.model_validate(read or {})
        return toolbox_of(declared, path.parent)
    except ValidationError as error:
        # the values stay out of it: one may be a secret that should not be there
        details = error.errors(include_url=False, include_input=False, include_context=False)
        problems = "; ".join(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in details)
        raise ConfigurationError(f"the tools file {str(path)!r}: {problems}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"the tools file {str(path)!r}: {error}") from error


def toolbox_of(declared: ToolsFile, folder: Path) -> Toolbox:
    registry = Registry()
    for name, resource in declared.resources.items():
        registry.resource(Resource(name=name, capacity=resource.capacity, rate_per_s=resource.rate_per_s))
    parts = [registry_named(name) for name in declared.registries]
    for part in parts:
        add_all(registry, part)
    for name, entry in declared.functions.items():
        add_function(registry, name, entry)
    sources: list[ToolSource] = [
        *(mcp_source(f"mcp.{name}", entry, folder) for name, entry in declared.mcp.items()),
        *(openapi_source(f"openapi.{name}", entry, folder) for name, entry in declared.openapi.items()),
    ]
    return Toolbox(registry=registry, sources=sources, parts=parts)


def add_all(registry: Registry, other: Registry) -> None:
    """The tools and resources of a registry in code."""
    for resource in other.resources:
        registry.resource(resource)
    for tool in other.tools:
        found = other.get(tool.name)
        assert found is not None
        registry.add(found)


def add_function(registry: Registry, name: str, entry: FunctionEntry) -> None:
    function = function_named(entry.function)
    batch = None if entry.batch is None else function_named(entry.batch)
    registry.tool(name=name, description=entry.description, batch=batch, **entry.stated())(function)


def function_named(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigurationError(f"the function {name!r} does not exist: {error}") from error
    if not callable(function):
        raise ConfigurationError(f"{name!r} is no function but {type(function).__name__}")
    return function


def mcp_source(name: str, entry: McpEntry, folder: Path) -> McpSource:
    server: ChildProcess | HttpServer
    if entry.command is not None:
        environment = {
            variable: value if isinstance(value, str) else secret(name, value) for variable, value in entry.env.items()
        }
        server = ChildProcess(
            command=entry.command, environment=environment, folder=str(folder / (entry.folder or "."))
        )
    else:
        assert entry.url is not None
        server = HttpServer(url=entry.url, headers=secrets(name, entry.headers), allowed=allowed(entry))
    return McpSource(
        name,
        server,
        selection(entry),
        answer_limit_bytes=entry.answer_limit_bytes,
        connect_timeout_s=entry.connect_timeout_s,
        trust_annotations=entry.trust_annotations,
    )


def openapi_source(name: str, entry: OpenApiEntry, folder: Path) -> OpenApiSource:
    service = HttpService(
        document=entry.document if is_url(entry.document) else str(folder / entry.document),
        base_url=entry.base_url,
        secrets=secrets(name, entry.secrets),
        headers=secrets(name, entry.headers),
        allowed=allowed(entry),
    )
    return OpenApiSource(name, service, selection(entry), answer_limit_bytes=entry.answer_limit_bytes)


def secret(source: str, value: Value) -> Secret:
    try:
        return read_secret(value.env, prefix=value.prefix)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from error


def secrets(source: str, values: Mapping[str, Value]) -> dict[str, Secret]:
    return {name: secret(source, value) for name, value in values.items()}


def allowed(entry: SourceEntry) -> AllowedAddresses:
    return AllowedAddresses(private=tuple(entry.private_networks))


def selection(entry: SourceEntry) -> Selection:
    return Selection(
        include=entry.include,
        exclude=entry.exclude,
        prefix=entry.prefix,
        defaults=entry.defaults.stated(),
        facts={name: facts.stated() for name, facts in entry.tools.items()},
    )
