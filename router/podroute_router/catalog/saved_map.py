"""The shard map on disk, so that a router can start while the catalog is down.

The file is two lines of JSON: a header with the format's version and the SHA-256 of the second line, and the map. The
map says of which catalog it is, by the hash of the address: another cluster's map would send calls to tables of the
same name.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from podroute_router.config import Database
from podroute_router.domain import Collection, Metric, Placement
from podroute_router.shard_map import Change, ShardMap

FORMAT = 1

BREATH = 100
"""Collections that are encoded before other threads get their turn, for `BREATH_S`."""
BREATH_S = 0.0005

_TAIL = b"]}\n"


class SavedMapError(Exception):
    """A saved map that cannot be used; the message says why and, where it is a file's, names the file."""


class Encoder:
    """Encodes one map after another, a collection only once for as long as it stays as it is.

    It may run in a thread beside the event loop: it never computes for long without letting other threads go on.

    Args:
        catalog: of which catalog the maps are, as `catalog_mark` says; "" leaves it open.
    """

    def __init__(self, catalog: str = "") -> None:
        self._origin = {"catalog": catalog} if catalog else {}
        self._encoded: dict[str, tuple[Collection, bytes]] = {}

    def encode(self, shard_map: ShardMap) -> bytes:
        """The map as the content of a file."""
        before, self._encoded = self._encoded, {}
        fresh = 0
        for name in sorted(shard_map.collections):
            collection = shard_map.collections[name]
            known = before.get(name)
            if known is None or known[0] is not collection:
                known = collection, _json(_collection_values(collection))
                fresh += 1
                if fresh % BREATH == 0:
                    time.sleep(BREATH_S)
            self._encoded[name] = known
        head = _line(self._origin | {"revision": shard_map.revision, "pods": sorted(shard_map.pods), "collections": []})
        body = b"".join((head[: -len(_TAIL)], b",".join(line for _, line in self._encoded.values()), _TAIL))
        return _line({"format": FORMAT, "sha256": hashlib.sha256(body).hexdigest()}) + body


def catalog_mark(database: Database) -> str:
    """Tells one catalog from another by host, port and database, the same for every router of one configuration."""
    given = conninfo_to_dict(database.dsn)
    return hashlib.sha256(repr([given.get(key) for key in ("host", "hostaddr", "port", "dbname")]).encode()).hexdigest()


def encode(shard_map: ShardMap, catalog: str = "") -> bytes:
    """The map as the content of a file."""
    return Encoder(catalog).encode(shard_map)


def decode(content: bytes, catalog: str = "") -> ShardMap:
    """The map that `encode` wrote.

    Args:
        content: of the file.
        catalog: of which catalog it has to be; "", and a map that does not say it, go with any.

    Raises:
        SavedMapError: it is not whole, or of another catalog.
    """
    header, separator, body = content.partition(b"\n")
    try:
        described = json.loads(header)
        if not separator or not isinstance(described, dict):
            raise SavedMapError("has no header")
        if described.get("format") != FORMAT:
            raise SavedMapError(f"has format {described.get('format')!r}; this router reads format {FORMAT}")
        if described.get("sha256") != hashlib.sha256(body).hexdigest():
            raise SavedMapError("does not match its checksum")
        values = json.loads(body)
        if catalog and values.get("catalog", catalog) != catalog:
            raise SavedMapError("is of a catalog at another address than the configured one")
        changes = [Change(item["name"], _collection(item)) for item in values["collections"]]
        return ShardMap().changed(values["revision"], values["pods"], changes)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SavedMapError(f"cannot be read ({type(error).__name__})") from error


def save(shard_map: ShardMap, path: Path, encoder: Encoder | None = None) -> None:
    """Writes the map to the file, as a whole or not at all, even where the machine fails. Raises OSError.

    encoder: the one that encoded the map before, which spares most of the work.
    """
    content = (encoder or Encoder()).encode(shard_map)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # of mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(path: Path, catalog: str = "") -> ShardMap | None:
    """The map in the file; None where there is no file. For `catalog` see `decode`.

    Raises:
        SavedMapError: the file cannot be read, is not whole, or is of another catalog. It stays as it is.
    """
    try:
        return decode(path.read_bytes(), catalog)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SavedMapError(f"the saved shard map {path} cannot be read: {error.strerror}") from error
    except SavedMapError as error:
        raise SavedMapError(f"the saved shard map {path} {error}") from error


def _json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


def _line(values: dict[str, Any]) -> bytes:
    return _json(values) + b"\n"


def _collection_values(collection: Collection) -> dict[str, Any]:
    placement = collection.placement
    return {
        "name": collection.name,
        "dimension": collection.dimension,
        "metric": collection.metric.value,
        "pod": placement.pod,
        "schema": placement.schema,
        "table": placement.table,
        "generation": placement.generation,
    }


def _collection(values: dict[str, Any]) -> Collection:
    name, table = values["name"], values["table"]
    return Collection(
        name=name,
        dimension=values["dimension"],
        metric=Metric(values["metric"]),
        placement=Placement(  # thousands of collections share these strings
            pod=sys.intern(values["pod"]),
            schema=sys.intern(values["schema"]),
            table=name if table == name else table,
            generation=values["generation"],
        ),
    )
