"""What is asked of collections and indexes becomes values of the core, or is refused with the field at fault."""

from __future__ import annotations

import pytest
from podroute.v1 import collection_service_pb2 as collections_pb
from podroute_router.api import requests
from podroute_router.domain import (
    Hnsw,
    IvfFlat,
)

from .messages import refusal


@pytest.mark.parametrize("dimension", [0, -1, 16001])
def test_a_dimension_out_of_bounds_is_refused(dimension: int) -> None:
    request = collections_pb.CreateCollectionRequest(dimension=dimension)
    assert refusal(requests.to_dimension, request) == ("DIMENSION", "dimension")


def test_a_pod_is_optional_and_has_the_name_of_a_pod() -> None:
    assert requests.to_pod(collections_pb.CreateCollectionRequest()) is None
    assert requests.to_pod(collections_pb.CreateCollectionRequest(pod="docs")) == "docs"
    assert refusal(requests.to_pod, collections_pb.CreateCollectionRequest(pod="Docs;")) == ("POD_NAME", "pod")


def test_a_page_has_at_most_1000_collections() -> None:
    assert [requests.to_page_size(size) for size in (0, 1, 1000)] == [0, 1, 1000]
    assert refusal(requests.to_page_size, -1) == ("PAGE_SIZE", "page_size")
    assert refusal(requests.to_page_size, 1001) == ("PAGE_SIZE", "page_size")


def hnsw(**fields: int) -> collections_pb.CreateIndexRequest:
    return collections_pb.CreateIndexRequest(collection="docs", hnsw=collections_pb.Hnsw(**fields))


def ivfflat(**fields: int) -> collections_pb.CreateIndexRequest:
    return collections_pb.CreateIndexRequest(collection="docs", ivfflat=collections_pb.IvfFlat(**fields))


def test_an_index_has_pgvectors_defaults_unless_set() -> None:
    assert requests.to_index_method(hnsw()) == Hnsw()
    assert requests.to_index_method(hnsw(m=32)) == Hnsw(m=32)
    assert requests.to_index_method(hnsw(m=2, ef_construction=4)) == Hnsw(m=2, ef_construction=4)
    assert requests.to_index_method(hnsw(m=100, ef_construction=1000)) == Hnsw(m=100, ef_construction=1000)
    assert requests.to_index_method(ivfflat()) == IvfFlat()
    assert requests.to_index_method(ivfflat(lists=32768)) == IvfFlat(lists=32768)


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (collections_pb.CreateIndexRequest(collection="docs"), "METHOD_MISSING", "method"),
        (hnsw(m=1), "HNSW_M", "hnsw.m"),
        (hnsw(m=101), "HNSW_M", "hnsw.m"),
        (hnsw(ef_construction=3), "HNSW_EF_CONSTRUCTION", "hnsw.ef_construction"),
        (hnsw(ef_construction=1001), "HNSW_EF_CONSTRUCTION", "hnsw.ef_construction"),
        (hnsw(m=50, ef_construction=99), "HNSW_EF_CONSTRUCTION", "hnsw.ef_construction"),
        (hnsw(m=33), "HNSW_EF_CONSTRUCTION", "hnsw.ef_construction"),
        (ivfflat(lists=0), "IVFFLAT_LISTS", "ivfflat.lists"),
        (ivfflat(lists=32769), "IVFFLAT_LISTS", "ivfflat.lists"),
        (hnsw(ef_construction=31), "HNSW_EF_CONSTRUCTION", "hnsw.ef_construction"),
    ],
)
def test_a_bad_index_is_refused_by_its_field(
    request_: collections_pb.CreateIndexRequest, reason: str, field: str
) -> None:
    assert refusal(requests.to_index_method, request_) == (reason, field)


@pytest.mark.parametrize("name", ["", "x" * 64, "\u00e4" * 32, "a\0b"])
def test_a_name_that_no_index_or_table_has_is_refused(name: str) -> None:
    drop = collections_pb.DropIndexRequest(collection="docs", name=name)
    assert refusal(requests.to_index_name, drop) == ("INDEX_NAME", "name")
    adopt = collections_pb.AdoptCollectionRequest(pod="alpha", table_name=name)
    assert refusal(requests.to_table_name, adopt) == ("TABLE_NAME", "table_name")
