"""Which exposures a router has the primary follow, by which map."""

from __future__ import annotations

from collections.abc import Sequence

from no_exposures import NoExposures
from podroute_router.domain import Collection, Deadline, Metric, Placement
from podroute_router.exposing import Exposing
from podroute_router.exposures import Exposed, Exposure
from podroute_router.shard_map import Change, ShardMap

MAP = ShardMap().changed(
    7,
    ["alpha"],
    [
        Change(
            "docs",
            Collection(
                name="docs",
                dimension=2,
                metric=Metric.L2,
                placement=Placement(pod="alpha", schema="vecs", table="docs"),
            ),
        )
    ],
)


class Maps:
    """One map."""

    current = MAP

    async def refresh(self, _deadline: Deadline) -> ShardMap:
        return MAP


class Catalog(NoExposures):
    """Has these exposures at a revision."""

    def __init__(self, revision: int, *collections: str) -> None:
        self._revision = revision
        self._found = [Exposure(collection=name, schema="public", view=name) for name in collections]

    async def exposures(self, _deadline: Deadline) -> tuple[int, list[Exposure]]:
        return self._revision, self._found


class Primary:
    """Keeps what it is to follow."""

    def __init__(self) -> None:
        self.followed: list[tuple[list[str], int]] = []

    async def follow_exposures(self, exposures: Sequence[Exposed], revision: int, _deadline: Deadline) -> None:
        self.followed.append(([each.exposure.view for each in exposures], revision))


async def followed(catalog: Catalog) -> list[tuple[list[str], int]]:
    async def announce(_deadline: Deadline) -> None:
        return

    primary = Primary()
    exposing = Exposing(
        maps=Maps(), catalog=catalog, store=None, primary=primary, is_on_primary=lambda _: False, announce=announce
    )
    await exposing.follow(MAP, Deadline.after(1))
    return primary.followed


async def test_exposures_are_followed_by_the_older_of_map_and_catalog() -> None:
    """A router works by its map; that is ahead where the catalog was restored from a backup."""
    assert await followed(Catalog(7, "docs")) == [(["docs"], 7)]
    assert await followed(Catalog(9, "docs")) == [(["docs"], 7)]
    assert await followed(Catalog(5)) == [([], 5)]


async def test_exposures_of_collections_that_the_map_does_not_know_yet_wait_for_the_next_map() -> None:
    """Taken for none, their views would be dropped."""
    assert await followed(Catalog(9, "docs", "made_since")) == []
