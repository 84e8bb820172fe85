"""The import direction: read from the source, so that an edge upward fails before anything runs.

`docs/architecture.md` describes the layers. A new part of `serving` gets its place in `SERVING` here; a new heavy
library gets its adapter in `ADAPTERS`.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PACKAGES: dict[str, set[str]] = {
    "grammars": set(),
    "serving": {"grammars"},
    "finetune": {"grammars"},
}
"""What each package may import besides itself."""

SERVING = (
    {"cli"},
    {"build", "startup"},
    {"api"},
    {"turn_runner"},
    {"turn", "turn_tools", "telemetry"},
    {"turn_book", "turn_request"},
    {"turn_account"},
    {"round_ledger"},
    {"approvals", "callers"},
    {"hidden_rounds"},
    {"turn_events"},
    {"decode", "execute"},
    {"engines"},
    {"models"},
    {"config"},
)
"""The parts of `serving`, from top to bottom: each may import itself and what lies below, not its neighbours."""

ADAPTERS = {
    "torch": (
        "serving.engines.transformers",
        "serving.models.convert",
        "serving.models.merge",
        "finetune.row_model",
        "finetune.trainer",
    ),
    "transformers": (
        "serving.engines.transformers",
        "serving.models.convert",
        "serving.models.trained",
        "finetune.trainer",
    ),
    "peft": ("finetune.trainer",),
    "vllm": ("serving.engines.vllm",),
    "ray": (),
    "mcp": ("serving.execute.mcp",),
    "sqlalchemy": ("serving.execute.database",),
    "bfcl_eval": ("finetune.bfcl",),
}
"""The heavy libraries, and the only places that may import them."""

LAZY = {
    ("finetune.bfcl", "bfcl_eval"),  # a stand-in for one of its modules must be in place first
    ("serving.engines.build", "serving.engines.transformers"),  # loads torch, which other engines do without
    ("serving.engines.build", "serving.engines.vllm"),  # loads vLLM, which is an extra
    ("serving.engines.build", "serving.engines.remote"),  # loads transformers
}
"""Who may import what inside a function. All other imports stand at the top."""

Modules = dict[str, str]
"""Source text by module name."""


def read_modules() -> Modules:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {module_name(path): path.read_text(encoding="utf-8") for path in paths}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.AST, modules: Modules) -> set[str]:
    """The names of the modules that the imports under `tree` load."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            module = node.module or ""
            for alias in node.names:
                member = f"{module}.{alias.name}"
                names.add(member if member in modules else module)
    return names


def faults(modules: Modules) -> list[str]:
    """Every import that breaks a rule, in words."""
    found: list[str] = []
    graph: dict[str, set[str]] = {}
    for name, source in modules.items():
        tree = ast.parse(source)
        targets = imported(tree, modules)
        graph[name] = targets & modules.keys()
        for target in sorted(targets):
            found += [
                f"{name} imports {target}: {reason}" for reason in (upward(name, target), heavy(name, target)) if reason
            ]
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                found += [
                    f"{name} imports {target} inside {function.name}"
                    for target in sorted(imported(function, modules))
                    if not is_lazy(name, target)
                ]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"a cycle: {' -> '.join(error.args[1])}")
    return found


def is_lazy(name: str, target: str) -> bool:
    return any(name == who and f"{target}.".startswith(f"{what}.") for who, what in LAZY)


def upward(name: str, target: str) -> str | None:
    package, _, part = name.partition(".")
    target_package, _, target_part = target.partition(".")
    if target_package not in {*PACKAGES, "scripts", "tests"}:
        return None
    if target_package != package:
        return None if target_package in PACKAGES[package] else f"{package} does not stand on {target_package}"
    if package != "serving" or not part or not target_part:
        return None
    part, target_part = part.partition(".")[0], target_part.partition(".")[0]
    if part == target_part or layer(part) < layer(target_part):
        return None
    return f"serving.{target_part} is not below serving.{part}"


def layer(part: str) -> int:
    depths = [depth for depth, parts in enumerate(SERVING) if part in parts]
    assert depths, f"serving.{part} has no place among the layers: give it one in {Path(__file__).name}"
    return depths[0]


def heavy(name: str, target: str) -> str | None:
    library = target.partition(".")[0]
    if library not in ADAPTERS:
        return None
    if any(name == adapter or name.startswith(f"{adapter}.") for adapter in ADAPTERS[library]):
        return None
    return f"only {' and '.join(ADAPTERS[library]) or 'an adapter of its own'} may"


def test_imports_of_the_project_break_no_rule() -> None:
    assert faults(read_modules()) == []


@pytest.mark.parametrize("name", sorted(name for name in read_modules() if name.startswith("serving.")))
def test_every_part_of_serving_has_its_layer(name: str) -> None:
    assert layer(name.split(".")[1]) >= 0


@pytest.mark.parametrize(
    ("modules", "fault"),
    [
        ({"grammars.plan": "from serving.turn import Turn"}, "grammars does not stand on serving"),
        ({"finetune.train": "import serving.turn"}, "finetune does not stand on serving"),
        ({"serving.turn": "from finetune.bfcl import score"}, "serving does not stand on finetune"),
        ({"serving.turn": "import tests.conftest"}, "serving does not stand on tests"),
        ({"serving.engines.base": "from serving.decode.events import Figures"}, "serving.decode is not below"),
        ({"serving.decode.parallel": "from serving.execute.execute import run"}, "serving.execute is not below"),
        ({"grammars.a": "import grammars.b", "grammars.b": "from grammars import a"}, "a cycle: "),
        ({"grammars.tree": "import torch.nn"}, "only serving.engines.transformers and"),
        ({"serving.engines.base": "from vllm import LLM"}, "only serving.engines.vllm may"),
        ({"serving.api.app": "def f():\n    import json"}, "imports json inside f"),
        ({"serving.api.app": "class C:\n    async def f(self):\n        from json import loads"}, "json inside f"),
    ],
)
def test_import_that_breaks_a_rule_is_named(modules: Modules, fault: str) -> None:
    (found,) = faults(modules)
    assert fault in found


@pytest.mark.parametrize(
    "modules",
    [
        {"serving.cli": "from serving.api.app import app\nfrom grammars.tools import Tool"},
        {"serving.engines.transformers.model": "import torch\nfrom serving.engines.base import Engine"},
        {"finetune.bfcl": "def f():\n    from bfcl_eval.constants.enums import Language"},
        {"grammars.a": "from grammars import b", "grammars.b": "import json"},
    ],
)
def test_import_downward_is_accepted(modules: Modules) -> None:
    assert faults(modules) == []


def test_importing_the_grammars_loads_no_torch() -> None:
    names = sorted(name for name in read_modules() if name.partition(".")[0] == "grammars")
    code = f"import sys, {', '.join(names)}\nprint('torch' in sys.modules, 'serving' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert child.stdout.split() == ["False", "False"]
