"""Starts programs with --help, one after another in one process, since most of a start is imports.

Reads their paths or modules and their subcommands from standard input, as JSON, and writes what they say.
"""

from __future__ import annotations

import json
import runpy
import sys
from contextlib import redirect_stdout
from io import StringIO


def help_of(program: str, *words: str) -> str:
    """What the program says; it must end well."""
    sys.argv = [program, *words, "--help"]
    run = runpy.run_path if program.endswith(".py") else runpy.run_module
    with redirect_stdout(StringIO()) as said:
        try:
            run(program, run_name="__main__")
        except SystemExit as ended:
            if ended.code:
                raise
    return said.getvalue()


if __name__ == "__main__":
    json.dump([help_of(*words) for words in json.load(sys.stdin)], sys.stdout)
