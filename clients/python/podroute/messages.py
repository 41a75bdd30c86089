"""Python values to the messages of requests. Pure: no channel, no clock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from podroute.errors import InvalidArgument
from podroute.v1 import record_pb2, route_pb2
from podroute.v1 import vector_service_pb2 as vectors
from podroute.values import (
    IterativeScan,
    Metric,
    Path,
    Record,
    RecordLike,
    UpdateMode,
    UpsertMode,
    VectorLike,
    components,
)

PATHS: dict[Path, route_pb2.AccessPath] = {
    "auto": route_pb2.ACCESS_PATH_UNSPECIFIED,
    "direct": route_pb2.ACCESS_PATH_DIRECT,
    "fdw": route_pb2.ACCESS_PATH_FDW,
}
METRICS: dict[Metric, record_pb2.Metric] = {
    "cosine": record_pb2.METRIC_COSINE,
    "l2": record_pb2.METRIC_L2,
    "inner_product": record_pb2.METRIC_INNER_PRODUCT,
    "l1": record_pb2.METRIC_L1,
}
_ITERATIVE_SCANS: dict[IterativeScan, vectors.IterativeScan] = {
    "off": vectors.ITERATIVE_SCAN_OFF,
    "strict": vectors.ITERATIVE_SCAN_STRICT,
    "relaxed": vectors.ITERATIVE_SCAN_RELAXED,
}
_UPSERT_MODES: dict[UpsertMode, vectors.UpsertMode] = {
    "replace": vectors.UPSERT_MODE_UNSPECIFIED,
    "insert_only": vectors.UPSERT_MODE_INSERT_ONLY,
    "update_only": vectors.UPSERT_MODE_UPDATE_ONLY,
}
_UPDATE_MODES: dict[UpdateMode, vectors.UpdateMode] = {
    "merge": vectors.UPDATE_MODE_MERGE,
    "replace": vectors.UPDATE_MODE_REPLACE,
}
_VALUES_TAG = bytes([record_pb2.Vector.DESCRIPTOR.fields_by_name["values"].number << 3 | 2])


@contextmanager
def refusing(field: str) -> Iterator[None]:
    """Raises what protobuf says of a value that it cannot hold as InvalidArgument."""
    try:
        yield
    except InvalidArgument:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgument.at(field, str(error), "ARGUMENT_TYPE") from error


def path_value(path: Path) -> route_pb2.AccessPath:
    """The access path of a name; raises InvalidArgument for any other word."""
    if path not in PATHS:
        raise InvalidArgument.at("path", f"must be one of {', '.join(PATHS)}", "ACCESS_PATH")
    return PATHS[path]


def metric_value(metric: Metric | None) -> record_pb2.Metric:
    """The metric of a name, None being the collection's; raises InvalidArgument for any other word."""
    if metric is None:
        return record_pb2.METRIC_UNSPECIFIED
    if metric not in METRICS:
        raise InvalidArgument.at("metric", f"must be one of {', '.join(METRICS)}", "METRIC")
    return METRICS[metric]


def iterative_scan_value(iterative_scan: IterativeScan | None) -> vectors.IterativeScan:
    """The way to scan on of a name, None being the default; raises InvalidArgument for any other word."""
    if iterative_scan is None:
        return vectors.ITERATIVE_SCAN_UNSPECIFIED
    if iterative_scan not in _ITERATIVE_SCANS:
        raise InvalidArgument.at("iterative_scan", f"must be one of {', '.join(_ITERATIVE_SCANS)}", "ITERATIVE_SCAN")
    return _ITERATIVE_SCANS[iterative_scan]


def upsert_mode_value(mode: UpsertMode) -> vectors.UpsertMode:
    """The mode of a name; raises InvalidArgument for any other word."""
    if mode not in _UPSERT_MODES:
        raise InvalidArgument.at("mode", f"must be one of {', '.join(_UPSERT_MODES)}", "UPSERT_MODE")
    return _UPSERT_MODES[mode]


def update_mode_value(mode: UpdateMode) -> vectors.UpdateMode:
    """The mode of a name; raises InvalidArgument for any other word."""
    if mode not in _UPDATE_MODES:
        raise InvalidArgument.at("mode", f"must be one of {', '.join(_UPDATE_MODES)}", "UPDATE_MODE")
    return _UPDATE_MODES[mode]


def vector_message(vector: VectorLike, field: str = "vector") -> record_pb2.Vector:
    """A vector; raises InvalidArgument where it is no sequence of numbers."""
    packed = _packed(vector)
    if packed is not None:
        return record_pb2.Vector.FromString(packed)
    with refusing(field):
        return record_pb2.Vector(values=components(vector))


def _packed(vector: VectorLike) -> bytes | None:
    """The wire format of a numpy array of float32, twenty times faster than by its numbers; None of anything else."""
    if getattr(getattr(vector, "dtype", None), "str", None) != "<f4" or getattr(vector, "ndim", None) != 1:
        return None
    components: bytes = vector.tobytes()  # type: ignore[union-attr]
    return _values_header(len(components)) + components


@lru_cache(maxsize=64)
def _values_header(length: int) -> bytes:
    """What stands before so many bytes of components."""
    header = bytearray(_VALUES_TAG)
    while length > 0x7F:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return bytes(header)


def metadata_text(metadata: Mapping[str, Any] | None, field: str) -> str:
    """The JSON text of a record's metadata; raises InvalidArgument where there is none."""
    if not metadata and (metadata is None or isinstance(metadata, Mapping)):
        return ""
    if not isinstance(metadata, Mapping):
        raise InvalidArgument.at(field, f"must be a dict, not {type(metadata).__name__}", "METADATA")
    try:
        return _JSON.encode(dict(metadata))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument.at(field, f"has no JSON form: {error}", "METADATA") from error


def _plain(value: object) -> object:
    # numpy's scalars and arrays, without importing numpy.
    tolist = getattr(value, "tolist", None)
    if tolist is None:
        raise TypeError(f"{type(value).__name__} is not a JSON type")
    return tolist()


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)


def record_messages(records: Iterable[RecordLike]) -> list[record_pb2.Record]:
    """Records; raises InvalidArgument, naming the record, where one cannot be sent."""
    return [record_message(record, i) for i, record in enumerate(iterable(records))]


def iterable(records: Iterable[RecordLike]) -> Iterable[RecordLike]:
    """The records; raises InvalidArgument where these are not several, or come asynchronously."""
    if isinstance(records, (Record, Mapping)) or not isinstance(records, Iterable):
        raise InvalidArgument.at("records", f"must be a sequence, not {type(records).__name__}", "ARGUMENT_TYPE")
    return records


def record_message(record: RecordLike, place: int) -> record_pb2.Record:
    """A record; raises InvalidArgument, naming it by its place, where it cannot be sent."""
    field = f"records[{place}]"
    if isinstance(record, Record):
        record = (record.id, record.vector, record.metadata)
    elif not isinstance(record, tuple) or len(record) != 3:
        raise InvalidArgument.at(field, "must be a Record or a tuple (id, vector, metadata)", "ARGUMENT_TYPE")
    id_, vector, metadata = record
    if not isinstance(id_, str):
        raise InvalidArgument.at(f"{field}.id", f"must be a string, not {type(id_).__name__}", "ARGUMENT_TYPE")
    packed = _packed(vector)
    values = vector_message(vector, f"{field}.vector") if packed is None else None
    text = metadata_text(metadata, f"{field}.metadata")
    try:  # not `refusing`, which takes as long as all the rest
        message = record_pb2.Record(id=id_, vector=values, metadata=text)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgument.at(field, str(error), "ARGUMENT_TYPE") from error
    if packed is not None:
        message.vector.MergeFromString(packed)
    return message


def id_list(ids: Iterable[str]) -> list[str]:
    """Ids; raises InvalidArgument for a single string, which would be taken apart, and for what is no string."""
    found = [ids] if isinstance(ids, (str, bytes)) else list(ids)
    if found == [ids] or not all(isinstance(each, str) for each in found):
        raise InvalidArgument.at("ids", "must be a sequence of strings", "ARGUMENT_TYPE")
    return found


def key_list(keys: Iterable[str]) -> list[str]:
    """Keys of the metadata; raises InvalidArgument where there are none, and for what is no sequence of strings."""
    found = [keys] if isinstance(keys, (str, bytes)) else list(keys)
    if not found or found == [keys] or not all(isinstance(each, str) for each in found):
        raise InvalidArgument.at("metadata_keys", "must be a sequence of strings, with one at least", "METADATA_KEYS")
    return found
