"""A byte tokenizer with a chat template of its own, rendered by Jinja as transformers renders them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from grammars.errors import RequestError
from serving.engines.byte_tokenizer import ByteTokenizer

TRIMMING = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content | trim }}<|im_end|>
{% endfor -%}
<|im_start|>assistant
"""
"""Knows no tools, and drops the whitespace around what is said."""

TAGGED = """\
{%- if tools -%}
<|im_start|>tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor -%}
<|im_start|>assistant
"""
"""Writes tools, calls and results by itself, each call in tags."""

BRACKETED = """\
{%- if tools %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif -%}
{%- for message in messages -%}
{%- if message.tool_calls -%}
[TOOL_CALLS] [
{%- for call in message.tool_calls -%}
{%- if call.id | length != 9 %}{{ raise_exception("an id has nine characters") }}{% endif -%}
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}
{%- if not loop.last %}, {% endif -%}
{%- endfor -%}
]<|im_end|>
{%- elif message.role == "tool" -%}
[TOOL_RESULTS] {"content": {{ message.content | tojson }}, "call_id": "{{ message.tool_call_id }}"}[/TOOL_RESULTS]
{%- else -%}
<|im_start|>{{ message.role }} {{ message.content }}<|im_end|>
{%- endif -%}
{%- endfor -%}
"""
"""Writes calls as one array with ids, and insists on short ones."""

MISTRAL_V3 = """\
{{- bos_token -}}
{%- set asked = messages | selectattr("role", "equalto", "user") | list -%}
{%- for message in messages -%}
{%- if message.role == "user" -%}
{%- if tools and message == asked[-1] %}[AVAILABLE_TOOLS] [
{%- for tool in tools -%}
{%- set it = tool.function -%}
{"type": "function", "function": {"name": "{{ it.name }}", "description": "{{ it.description }}", {# -#}
"parameters": {{ it.parameters | tojson }}}}
{%- if not loop.last %}, {% endif -%}
{%- endfor -%}
][/AVAILABLE_TOOLS]{% endif -%}
[INST] {% if loop.last and messages[0].role == "system" %}{{ messages[0].content + "\\n\\n" }}{% endif -%}
{{- message.content }}[/INST]
{%- elif message.tool_calls -%}
[TOOL_CALLS] [
{%- for call in message.tool_calls -%}
{%- if call.id | length != 9 %}{{ raise_exception("an id has nine characters") }}{% endif -%}
{{ (call.function | tojson)[:-1] }}, "id": "{{ call.id }}"}
{%- if not loop.last %}, {% endif -%}
{%- endfor -%}
]{{ eos_token }}
{%- elif message.role == "tool" -%}
[TOOL_RESULTS] {"content": {{ message.content }}, "call_id": "{{ message.tool_call_id }}"}[/TOOL_RESULTS]
{%- elif message.role == "assistant" %} {{ message.content }}{{ eos_token }}
{%- endif -%}
{%- endfor -%}
"""
"""Writes what Mistral 7B Instruct v0.3 reads, with the weaknesses of its own template: it drops the system message once
results stand at the end, and pastes results and descriptions into JSON as they are."""

MISTRAL_V3_TEKKEN = MISTRAL_V3.replace("] [", "][").replace("] {", "]{").replace("[INST] ", "[INST]")
MISTRAL_V3_TEKKEN = MISTRAL_V3_TEKKEN.replace("%} {{ message.content }}", "%}{{ message.content }}")
"""The same for models with a tekken tokenizer: no spaces after the markers."""


class TemplateTokenizer(ByteTokenizer):
    """One token a byte, and any chat template."""

    def __init__(self, template: str) -> None:
        super().__init__()
        self._source = template
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        environment.globals["raise_exception"] = refuse
        self._template = environment.from_string(template)

    @property
    def chat_template(self) -> str:
        return self._source

    @property
    def renders_tools(self) -> bool:
        return "tools" in self._source

    def render_chat(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> str:
        try:
            return self._template.render(messages=messages, tools=tools)
        except jinja2.TemplateError as error:
            raise RequestError(f"refused: {error}", place="messages") from error


def refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
