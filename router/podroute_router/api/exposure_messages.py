"""Exposures of the contract as values of the core, and back. Pure; raises InvalidArgument that names the field."""

from __future__ import annotations

from typing import Final

from podroute.v1 import collection_service_pb2, exposure_pb2

from podroute_router.errors import InvalidArgument
from podroute_router.exposures import DEFAULT_SCHEMA, ColumnType, ExposedColumn, Exposure
from podroute_router.names import check_collection_name

_NUMBERS: Final = {
    ColumnType.TEXT: exposure_pb2.COLUMN_TYPE_TEXT,
    ColumnType.BIGINT: exposure_pb2.COLUMN_TYPE_BIGINT,
    ColumnType.DOUBLE_PRECISION: exposure_pb2.COLUMN_TYPE_DOUBLE_PRECISION,
    ColumnType.BOOLEAN: exposure_pb2.COLUMN_TYPE_BOOLEAN,
    ColumnType.TIMESTAMPTZ: exposure_pb2.COLUMN_TYPE_TIMESTAMPTZ,
    ColumnType.JSONB: exposure_pb2.COLUMN_TYPE_JSONB,
}
_TYPES: Final[dict[int, ColumnType]] = {
    exposure_pb2.COLUMN_TYPE_UNSPECIFIED: ColumnType.TEXT,
    **{number: found for found, number in _NUMBERS.items()},
}


def to_exposure(request: collection_service_pb2.ExposeCollectionRequest) -> Exposure:
    """What is to be exposed; its bounds are the control plane's to check."""
    collection = check_collection_name(request.collection, "collection")
    return Exposure(
        collection=collection,
        schema=request.view_schema or DEFAULT_SCHEMA,
        view=request.view_name or collection,
        columns=tuple(_to_column(column, f"columns[{i}]") for i, column in enumerate(request.columns)),
        roles=tuple(dict.fromkeys(request.roles)),
    )


def to_exposure_name(request: collection_service_pb2.UnexposeCollectionRequest) -> tuple[str, str, str]:
    """The collection, the schema and the view."""
    collection = check_collection_name(request.collection, "collection")
    return collection, request.view_schema or DEFAULT_SCHEMA, request.view_name or collection


def from_exposure(exposure: Exposure) -> exposure_pb2.Exposure:
    """An exposure as it is registered."""
    return exposure_pb2.Exposure(
        collection=exposure.collection,
        view_schema=exposure.schema,
        view_name=exposure.view,
        columns=[
            exposure_pb2.ExposedColumn(
                name=column.name,
                type=_NUMBERS[column.type],
                path=column.path,
                indexed=column.indexed,
            )
            for column in exposure.columns
        ],
        roles=exposure.roles,
    )


def _to_column(message: exposure_pb2.ExposedColumn, field: str) -> ExposedColumn:
    if message.type not in _TYPES:
        raise InvalidArgument("COLUMN_TYPE", f"{field}.type", f"{message.type} is no type of a column")
    return ExposedColumn(
        name=message.name,
        type=_TYPES[message.type],
        path=tuple(message.path) or (message.name,),
        indexed=message.indexed,
    )
