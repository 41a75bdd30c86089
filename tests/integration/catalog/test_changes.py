"""Changes of the shard map: each whole or refused, and one after the other."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from podroute_router.domain import Collection, Metric, Placement
from podroute_router.errors import (
    AlreadyExists,
    NotFound,
)
from podroute_router.shard_map import ShardMap

from .harness import PODS, Catalog, CountingStore, make, soon


async def test_a_collection_that_was_added_is_in_the_map(store: CountingStore) -> None:
    placement = Placement(pod="beta", schema="legacy", table='Some "old" table')
    odd = Collection(name="docs", dimension=1536, metric=Metric.INNER_PRODUCT, placement=placement)
    assert await store.add_collection(odd, soon()) == odd
    loaded = await store.load(ShardMap(), soon())
    assert loaded.collection("docs") == odd
    assert (loaded.revision, loaded.pods) == (2, set(PODS))


async def test_registering_known_pods_is_no_change(store: CountingStore) -> None:
    before = await store.load(ShardMap(), soon())
    await store.register_pods(reversed(PODS), soon())
    assert await store.load(before, soon()) is before
    await store.register_pods([*PODS, "gamma"], soon())
    after = await store.load(before, soon())
    assert (after.revision, after.pods) == (before.revision + 1, {"alpha", "beta", "gamma"})


async def test_routers_that_register_the_same_pods_at_once_make_one_change(store: CountingStore) -> None:
    await asyncio.gather(*(store.register_pods(["gamma", "delta"], soon()) for _ in range(6)))
    loaded = await store.load(ShardMap(), soon())
    assert (loaded.revision, loaded.pods) == (2, {"alpha", "beta", "gamma", "delta"})


async def test_a_name_is_taken_once_however_many_ask_for_it_at_once(store: CountingStore) -> None:
    outcomes = await asyncio.gather(
        *(store.add_collection(make("docs", PODS[n % 2], table=f"t{n}"), soon()) for n in range(8)),
        return_exceptions=True,
    )
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Collection)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, AlreadyExists)]
    assert [loser.reason for loser in losers] == ["COLLECTION_EXISTS"] * 7
    loaded = await store.load(ShardMap(), soon())
    assert loaded.collection("docs") == winner
    assert loaded.revision == 2


async def test_a_collection_on_an_unknown_pod_is_refused(store: CountingStore) -> None:
    with pytest.raises(NotFound) as caught:
        await store.add_collection(make("docs", "gamma"), soon())
    assert (caught.value.reason, caught.value.facts["pod"]) == ("POD_NOT_FOUND", "gamma")
    assert (await store.load(ShardMap(), soon())).revision == 1


async def test_two_collections_cannot_share_a_table(store: CountingStore) -> None:
    await store.add_collection(make("docs", table="t"), soon())
    with pytest.raises(AlreadyExists) as caught:
        await store.add_collection(make("copies", table="t"), soon())
    assert caught.value.reason == "TABLE_TAKEN"
    await store.add_collection(make("copies", "beta", table="t"), soon())


async def test_removing_twice_is_as_good_as_once(store: CountingStore) -> None:
    await store.add_collection(make("docs"), soon())
    assert await store.remove_collection("docs", soon()) is True
    removed = await store.load(ShardMap(), soon())
    assert await store.remove_collection("docs", soon()) is False
    assert await store.load(removed, soon()) is removed
    assert not removed.collections


async def test_a_removal_of_an_earlier_generation_leaves_the_collection_that_was_made_anew(
    store: CountingStore,
) -> None:
    first = await store.add_collection(make("docs"), soon())
    await store.remove_collection("docs", soon(), generation=first.placement.generation)
    second = await store.add_collection(make("docs", "beta"), soon())
    held = await store.load(ShardMap(), soon())
    assert await store.remove_collection("docs", soon(), generation=first.placement.generation) is False
    assert await store.load(held, soon()) is held
    assert held.collection("docs") == second
    assert await store.remove_collection("docs", soon(), generation=second.placement.generation) is True


async def test_a_collection_made_anew_has_a_later_generation(store: CountingStore) -> None:
    first = await store.add_collection(make("docs"), soon())
    held = await store.load(ShardMap(), soon())
    await store.remove_collection("docs", soon())
    second = await store.add_collection(replace(make("docs", "beta"), dimension=5), soon())
    await store.remove_collection("docs", soon())
    third = await store.add_collection(make("docs"), soon())
    assert [c.placement.generation for c in (first, second, third)] == [1, 2, 3]
    assert (second.placement.pod, second.dimension) == ("beta", 5)
    assert (await store.load(held, soon())).collection("docs") == third


async def test_revisions_have_no_gaps_and_commit_in_their_order_under_concurrent_writers(
    catalog: Catalog, store: CountingStore
) -> None:
    async def write(writer: int) -> None:
        for step in range(6):
            await store.add_collection(make(f"c{writer}_{step}"), soon())
            if step % 3 == 2:
                await store.remove_collection(f"c{writer}_{step - 1}", soon())
            with pytest.raises(AlreadyExists):
                await store.add_collection(make(f"c{writer}_0"), soon())

    async def read(written: asyncio.Event) -> ShardMap:
        held = ShardMap()
        async with catalog.store() as reader:
            while not written.is_set():
                later = await reader.load(held, soon())
                assert later.revision >= held.revision
                held = later
            return await reader.load(held, soon())

    written = asyncio.Event()
    reading = asyncio.create_task(read(written))
    await asyncio.gather(*(write(writer) for writer in range(8)))
    written.set()
    stepwise = await reading
    rows = catalog.admin("select revision from podroute_catalog.collections order by revision")
    adds, removals = 8 * 6, 8 * 2
    assert stepwise.revision == 1 + adds + removals
    assert len({revision for (revision,) in rows}) == adds, "each change has a revision of its own"
    assert stepwise == await store.load(ShardMap(), soon()), "no change was committed behind a reader's back"
    assert len(stepwise.collections) == adds - removals
