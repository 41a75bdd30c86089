"""The operations on exposures, each once: from arguments to the call to make. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from podroute import messages
from podroute.calls import Call, Defaults, Method
from podroute.control_plane import INDEX_TIMEOUT_S
from podroute.errors import InvalidArgument
from podroute.v1 import collection_service_pb2 as collections
from podroute.v1 import exposure_pb2
from podroute.values import ColumnType, ExposedColumn, Exposure, Unknown

EXPOSE_COLLECTION = Method("/podroute.v1.CollectionService/ExposeCollection", collections.ExposeCollectionResponse)
UNEXPOSE_COLLECTION = Method(
    "/podroute.v1.CollectionService/UnexposeCollection", collections.UnexposeCollectionResponse
)
LIST_EXPOSURES = Method("/podroute.v1.CollectionService/ListExposures", collections.ListExposuresResponse)

_TYPES: dict[str, exposure_pb2.ColumnType] = {
    "text": exposure_pb2.COLUMN_TYPE_TEXT,
    "bigint": exposure_pb2.COLUMN_TYPE_BIGINT,
    "double precision": exposure_pb2.COLUMN_TYPE_DOUBLE_PRECISION,
    "boolean": exposure_pb2.COLUMN_TYPE_BOOLEAN,
    "timestamptz": exposure_pb2.COLUMN_TYPE_TIMESTAMPTZ,
    "jsonb": exposure_pb2.COLUMN_TYPE_JSONB,
}
_NAMES: dict[int, ColumnType] = {
    exposure_pb2.COLUMN_TYPE_TEXT: "text",
    exposure_pb2.COLUMN_TYPE_BIGINT: "bigint",
    exposure_pb2.COLUMN_TYPE_DOUBLE_PRECISION: "double precision",
    exposure_pb2.COLUMN_TYPE_BOOLEAN: "boolean",
    exposure_pb2.COLUMN_TYPE_TIMESTAMPTZ: "timestamptz",
    exposure_pb2.COLUMN_TYPE_JSONB: "jsonb",
}


class Exposing(Defaults):
    """Gives collections an SQL face."""

    __slots__ = ()

    def expose_collection(
        self,
        collection: str,
        *,
        schema: str | None = None,
        view: str | None = None,
        columns: Mapping[str, ColumnType] | Iterable[ExposedColumn] = (),
        roles: Iterable[str] = (),
        timeout: float | None = None,
    ) -> Call[collections.ExposeCollectionResponse, Exposure]:
        """Makes a view of a collection for SQL, on its pod and on the primary, and lets roles read it.

        Where the collection has that view already, it becomes as it is asked for.

        Args:
            collection: the collection's name.
            schema: the view's; default: `public`.
            view: its name; default: the collection's.
            columns: of the metadata, as names and types (`{"url": "text"}`), or as `ExposedColumn`s, which have a path
                and an index, too. The view has `id`, `embedding` and `metadata` before them.
            roles: who may read the view; `public` is everybody. They are roles of the primary.
            timeout: seconds; default: an hour, as indexes may be built.
        """
        with messages.refusing("expose_collection"):
            request = collections.ExposeCollectionRequest(
                collection=collection,
                view_schema=schema,
                view_name=view,
                columns=[_column_message(each, f"columns[{i}]") for i, each in enumerate(_columns(columns))],
                roles=roles,
            )
        return Call(
            method=EXPOSE_COLLECTION,
            request=request,
            decode=lambda answer: exposure(answer.exposure),
            timeout_s=INDEX_TIMEOUT_S if timeout is None else timeout,
        )

    def unexpose_collection(
        self, collection: str, *, schema: str | None = None, view: str | None = None, timeout: float | None = None
    ) -> Call[collections.UnexposeCollectionResponse, None]:
        """Drops a view that `expose_collection` made, and its indexes. The records stay.

        Args:
            collection: the collection's name.
            schema: the view's; default: `public`.
            view: its name; default: the collection's.
            timeout: seconds; default: an hour, as transactions that are open have to end first.
        """
        with messages.refusing("unexpose_collection"):
            request = collections.UnexposeCollectionRequest(collection=collection, view_schema=schema, view_name=view)
        return Call(
            method=UNEXPOSE_COLLECTION,
            request=request,
            decode=lambda _: None,
            timeout_s=INDEX_TIMEOUT_S if timeout is None else timeout,
        )

    def list_exposures(
        self, collection: str | None = None, *, timeout: float | None = None
    ) -> Call[collections.ListExposuresResponse, tuple[Exposure, ...]]:
        """The exposures of a collection, or all, by schema and name of the view."""
        with messages.refusing("collection"):
            request = collections.ListExposuresRequest(collection=collection)
        return Call(
            method=LIST_EXPOSURES,
            request=request,
            decode=lambda answer: tuple(exposure(each) for each in answer.exposures),
            timeout_s=self._timeout_s(timeout),
        )


def exposure(message: exposure_pb2.Exposure) -> Exposure:
    """An exposure that is registered."""
    return Exposure(
        collection=message.collection,
        view_schema=message.view_schema,
        view_name=message.view_name,
        columns=tuple(
            ExposedColumn(name=each.name, type=_type_name(each.type), path=tuple(each.path), indexed=each.indexed)
            for each in message.columns
        ),
        roles=tuple(message.roles),
    )


def _type_name(number: int) -> ColumnType | Unknown:
    return _NAMES.get(number, "unknown")


def _columns(columns: Mapping[str, ColumnType] | Iterable[ExposedColumn]) -> Iterable[ExposedColumn]:
    if isinstance(columns, Mapping):
        return [ExposedColumn(name=name, type=kind) for name, kind in columns.items()]
    return columns


def _column_message(column: ExposedColumn, field: str) -> exposure_pb2.ExposedColumn:
    if column.type not in _TYPES:
        raise InvalidArgument.at(f"{field}.type", f"must be one of {', '.join(_TYPES)}", "COLUMN_TYPE")
    return exposure_pb2.ExposedColumn(
        name=column.name, type=_TYPES[column.type], path=column.path, indexed=column.indexed
    )
