"""Collections are listed page by page, from maps that are no older than that of the first page."""

from __future__ import annotations

import base64

import pytest
from no_exposures import NoExposures
from podroute_memory.backend import MemoryBackend
from podroute_router.collections import Collections
from podroute_router.config import Config, make_config
from podroute_router.domain import Collection, Deadline, Metric, Placement
from podroute_router.errors import InvalidArgument, Unavailable
from podroute_router.shard_map import Change, ShardMap

PODS = ["alpha"]
NAMES = ["a", "b", "c", "d", "e"]


class Maps:
    """A shard map, and the newest, which a refresh brings."""

    def __init__(self, *names: str, revision: int = 7) -> None:
        self.current = ShardMap()
        self.newest = ShardMap().changed(revision, PODS, [Change(name, make(name)) for name in names])
        self.refreshes = 0
        self.serves = True

    async def refresh(self, deadline: Deadline) -> ShardMap:
        self.refreshes += 1
        if not self.serves:
            raise Unavailable("UNREACHABLE", "the catalog is down")
        self.current = self.newest
        return self.current

    def change(self, *changes: Change) -> None:
        """Another router changes something."""
        self.newest = self.newest.changed(self.newest.revision + 1, PODS, changes)


class NoCatalog(NoExposures):
    """Listing changes nothing."""

    async def add_collection(self, collection: Collection, deadline: Deadline) -> Collection:
        raise NotImplementedError

    async def remove_collection(self, name: str, deadline: Deadline, *, generation: int | None = None) -> bool:
        raise NotImplementedError


def make(name: str) -> Collection:
    return Collection(
        name=name, dimension=3, metric=Metric.COSINE, placement=Placement(pod="alpha", schema="vecs", table=name)
    )


@pytest.fixture
def config() -> Config:
    return make_config({"primary": {"dsn": "dbname=app"}})


def listing(maps: Maps, config: Config) -> Collections:
    return Collections(
        config=config, maps=maps, catalog=NoCatalog(), store=MemoryBackend(), followers=[], pod_states={}
    )


async def pages(listed: Collections, size: int, token: str = "") -> list[list[str]]:
    found = []
    while True:
        page, token = await listed.page(size, token, Deadline.after(1))
        found.append([collection.name for collection in page])
        if not token:
            return found


async def test_pages_have_every_collection_once_by_name(config: Config) -> None:
    listed = listing(Maps("c", "a", "e", "d", "b"), config)
    assert await pages(listed, 2) == [["a", "b"], ["c", "d"], ["e"]]
    assert await pages(listed, 5) == [NAMES]
    assert await pages(listed, 0) == [NAMES]
    assert await pages(listing(Maps(), config), 2) == [[]]


async def test_the_catalog_is_asked_for_the_first_page_and_not_for_those_that_follow(config: Config) -> None:
    maps = Maps(*NAMES)
    listed = listing(maps, config)
    await pages(listed, 1)
    assert maps.refreshes == 1
    await pages(listed, 1)
    assert maps.refreshes == 2


async def test_a_router_whose_map_is_older_than_the_first_pages_asks_the_catalog(config: Config) -> None:
    ahead, behind = Maps(*NAMES), Maps(*NAMES)
    behind.current = ShardMap().changed(3, PODS, [Change("a", make("a"))])
    _, token = await listing(ahead, config).page(2, "", Deadline.after(1))
    assert await pages(listing(behind, config), 2, token) == [["c", "d"], ["e"]]
    assert behind.refreshes == 1


async def test_while_the_catalog_is_down_further_pages_are_of_the_map_that_is_held(config: Config) -> None:
    maps = Maps("a", "b")
    maps.current, maps.serves = maps.newest, False
    _, token = await listing(Maps(*NAMES, revision=9), config).page(1, "", Deadline.after(1))
    assert await pages(listing(maps, config), 1, token) == [["b"]]


async def test_a_deletion_between_two_pages_leaves_no_collection_out(config: Config) -> None:
    maps = Maps(*NAMES)
    listed = listing(maps, config)
    _, token = await listed.page(2, "", Deadline.after(1))
    maps.change(Change("b", None), Change("aa", make("aa")))
    await maps.refresh(Deadline.after(1))
    assert await pages(listed, 2, token) == [["c", "d"], ["e"]]


@pytest.mark.parametrize("text", ["docs", "", "x:docs", ":docs"])
async def test_a_token_that_nobody_gave_out_is_refused(config: Config, text: str) -> None:
    token = base64.urlsafe_b64encode(text.encode()).decode() or "?"
    with pytest.raises(InvalidArgument) as refused:
        await listing(Maps(*NAMES), config).page(1, token, Deadline.after(1))
    assert refused.value.reason == "PAGE_TOKEN"
