"""Indexes and adoption: Python values to requests, responses to Python values. Pure."""

from __future__ import annotations

from podroute.answers import collection, metric_name
from podroute.errors import InvalidArgument
from podroute.v1 import collection_service_pb2 as collections
from podroute.values import AdoptableTable, AdoptedCollection, Finding, Index, IndexMethod, IndexProgress


def index_event(message: collections.CreateIndexResponse) -> IndexProgress | Index | None:
    """What a build tells; None for an event that this client does not know."""
    match message.WhichOneof("event"):
        case "progress":
            progress = message.progress
            return IndexProgress(
                phase=progress.phase, blocks_done=progress.blocks_done, blocks_total=progress.blocks_total
            )
        case "index":
            return index(message.index)
    return None


def set_index_method(
    request: collections.CreateIndexRequest,
    method: IndexMethod,
    m: int | None,
    ef_construction: int | None,
    lists: int | None,
) -> None:
    """Sets what is to be built; raises InvalidArgument for another word, and for parameters of the other method."""
    match method:
        case "hnsw":
            request.hnsw.CopyFrom(collections.Hnsw(m=m, ef_construction=ef_construction))
            foreign = {"lists": lists}
        case "ivfflat":
            request.ivfflat.CopyFrom(collections.IvfFlat(lists=lists))
            foreign = {"m": m, "ef_construction": ef_construction}
        case "metadata_gin":
            request.metadata_gin.SetInParent()
            foreign = {"m": m, "ef_construction": ef_construction, "lists": lists}
        case _:
            raise InvalidArgument.at("method", "must be one of hnsw, ivfflat, metadata_gin", "METHOD_MISSING")
    for name, value in foreign.items():
        if value is not None:
            raise InvalidArgument.at(name, f"is no parameter of {method}", "ARGUMENT_TYPE")


def index(message: collections.Index) -> Index:
    """An index that stands."""
    method = message.WhichOneof("method")
    hnsw, ivfflat = method == "hnsw", method == "ivfflat"
    return Index(
        name=message.name,
        metric=metric_name(message.metric),
        method=method or "unknown",
        m=message.hnsw.m if hnsw else None,
        ef_construction=message.hnsw.ef_construction if hnsw else None,
        lists=message.ivfflat.lists if ivfflat else None,
        size_bytes=message.size_bytes,
        valid=message.valid,
    )


def adoptable_table(message: collections.AdoptableTable) -> AdoptableTable:
    """A table that may be adopted."""
    return AdoptableTable(
        table_name=message.table_name,
        dimension=message.dimension,
        record_estimate=message.record_estimate,
        findings=tuple(finding(each) for each in message.findings),
    )


def adopted_collection(message: collections.AdoptCollectionResponse) -> AdoptedCollection:
    """A collection that was a table, or would be."""
    return AdoptedCollection(
        collection=collection(message.collection),
        record_estimate=message.record_estimate,
        indexes=tuple(index(each) for each in message.indexes),
        findings=tuple(finding(each) for each in message.findings),
    )


def finding(message: collections.Finding) -> Finding:
    """What an administrator should know."""
    return Finding(reason=message.reason, message=message.message, blocking=message.blocking)
