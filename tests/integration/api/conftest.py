"""A server with a collection, and one whose backend has a bug."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest_asyncio
from podroute.v1 import collection_service_pb2 as collections_pb
from podroute.v1 import vector_service_pb2 as vectors_pb

from .face import CALL_TIMEOUT_S, BrokenBackend, Face, a_config, serving


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def face() -> AsyncIterator[Face]:
    """A server with a collection `docs` of dimension 2."""
    async with serving(a_config()) as opened:
        await opened.collections.CreateCollection(
            collections_pb.CreateCollectionRequest(name="docs", dimension=2), timeout=CALL_TIMEOUT_S
        )
        records = [
            {"id": name, "vector": {"values": [1, n]}, "metadata": json.dumps({"n": n})} for n, name in enumerate("abc")
        ]
        await opened.vectors.Upsert(
            vectors_pb.UpsertRequest(collection="docs", records=records), timeout=CALL_TIMEOUT_S
        )
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def broken() -> AsyncIterator[Face]:
    """A server whose backend fails."""
    async with serving(a_config(), BrokenBackend()) as opened:
        await opened.collections.CreateCollection(collections_pb.CreateCollectionRequest(name="docs", dimension=2))
        yield opened
