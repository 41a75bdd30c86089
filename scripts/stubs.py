"""Generates the Python stubs from proto/ (with --check: fails where the committed ones are stale)."""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
OUT = ROOT / "clients" / "python"
PACKAGE = Path("podroute") / "v1"


def generate(out: Path) -> None:
    """Writes the stubs of every .proto file below `out`."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    flags = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{PROTO}", f"-I{well_known}", *flags, *sources]) != 0:
        sys.exit("protoc failed")
    for empty in out.glob("podroute/v1/*_pb2_grpc.py"):
        if "class " not in empty.read_text(encoding="utf-8"):
            empty.unlink()  # a file without a service


def stale(fresh: Path) -> list[str]:
    """Names of stubs that differ from the fresh ones, are missing, or should be gone."""
    have = {path.name for path in (OUT / PACKAGE).glob("*_pb2*")}
    want = {path.name for path in (fresh / PACKAGE).glob("*_pb2*")}
    _, differ, _ = filecmp.cmpfiles(OUT / PACKAGE, fresh / PACKAGE, sorted(have & want), shallow=False)
    return sorted((have ^ want) | set(differ))


def main() -> None:
    """Generates, or checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail where a stub is stale")
    if not parser.parse_args().check:
        for old in (OUT / PACKAGE).glob("*_pb2*"):
            old.unlink()
        generate(OUT)
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        if names := stale(Path(folder)):
            sys.exit(f"stale stubs, run `make proto`: {', '.join(names)}")


if __name__ == "__main__":
    main()
