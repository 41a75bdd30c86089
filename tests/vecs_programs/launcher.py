"""Runs programs one after the other, each in a process of its own that finds its package imported.

Importing takes longer than most of them. Arguments: package, address, programs. Prints as JSON what each printed.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import tempfile
from pathlib import Path


def printed_by(program: str, address: str) -> str:
    """What the program prints; its error ends this process too."""
    with tempfile.TemporaryFile() as out:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            sys.argv = [program, address]
            sys.path[0] = str(Path(program).parent)
            try:
                runpy.run_path(program, run_name="__main__")
                sys.stdout.flush()
            except BaseException:  # noqa: BLE001 - whatever it is, this copy of the launcher ends here
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            sys.exit(f"{program} failed")
        out.seek(0)
        return out.read().decode()


def main() -> None:
    """Imports the package once and runs the programs."""
    package, address, *programs = sys.argv[1:]
    importlib.import_module(package)
    json.dump({Path(program).stem: printed_by(program, address) for program in programs}, sys.stdout)


if __name__ == "__main__":
    main()
