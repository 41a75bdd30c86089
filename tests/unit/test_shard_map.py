"""The shard map is a value: changes make another one."""

from __future__ import annotations

import pytest
from podroute_router.domain import Collection, Metric, Placement
from podroute_router.errors import NotFound
from podroute_router.shard_map import Change, ShardMap


def make(name: str, pod: str = "alpha", generation: int = 1) -> Collection:
    placement = Placement(pod=pod, schema="vecs", table=name, generation=generation)
    return Collection(name=name, dimension=3, metric=Metric.COSINE, placement=placement)


def a_map(*collections: Collection, revision: int = 1) -> ShardMap:
    changes = [Change(collection.name, collection) for collection in collections]
    return ShardMap().changed(revision, ["alpha", "beta"], changes)


def test_an_empty_map_has_revision_zero_and_nothing_in_it() -> None:
    shard_map = ShardMap()
    assert shard_map.revision == 0
    assert shard_map.pods == frozenset()
    assert dict(shard_map.collections) == {}


def test_a_collection_is_found_by_its_name() -> None:
    assert a_map(make("docs"), make("images")).collection("images") == make("images")


def test_an_unknown_collection_is_not_found_and_named() -> None:
    with pytest.raises(NotFound) as caught:
        a_map(make("docs")).collection("imges")
    assert caught.value.reason == "COLLECTION_NOT_FOUND"
    assert caught.value.facts == {"collection": "imges"}


def test_a_change_leaves_the_map_before_as_it_was() -> None:
    before = a_map(make("docs"), make("images"))
    after = before.changed(2, ["alpha"], [Change("docs", None), Change("notes", make("notes"))])
    assert set(before.collections) == {"docs", "images"}
    assert before.pods == {"alpha", "beta"}
    assert set(after.collections) == {"images", "notes"}
    assert (after.revision, after.pods) == (2, {"alpha"})


def test_a_later_placement_takes_the_place_of_the_earlier() -> None:
    after = a_map(make("docs")).changed(2, ["alpha", "beta"], [Change("docs", make("docs", "beta", 2))])
    assert after.collection("docs").placement == Placement(pod="beta", schema="vecs", table="docs", generation=2)


def test_deleting_what_the_map_never_had_changes_nothing_else() -> None:
    after = a_map(make("docs")).changed(5, ["alpha", "beta"], [Change("ghost", None)])
    assert after == a_map(make("docs"), revision=5)


def test_the_collections_cannot_be_edited_in_place() -> None:
    with pytest.raises(TypeError):
        a_map(make("docs")).collections["images"] = make("images")  # type: ignore[index]


def test_maps_of_the_same_content_are_equal_whatever_the_way_to_them() -> None:
    at_once = a_map(make("docs"), make("images"), revision=3)
    in_steps = a_map(make("images")).changed(3, ["beta", "alpha"], [Change("docs", make("docs"))])
    assert at_once == in_steps
    assert at_once != a_map(make("docs"), make("images", "beta"), revision=3)


def test_what_changed_between_two_maps_is_named_and_nothing_else() -> None:
    before = a_map(make("docs"), make("images"), make("notes"))
    changes = [Change("docs", None), Change("notes", make("notes", "beta", 2)), Change("songs", make("songs"))]
    after = before.changed(2, ["alpha", "beta"], changes)
    assert sorted(after.changed_names(before)) == ["docs", "notes", "songs"]
    assert sorted(before.changed_names(after)) == ["docs", "notes", "songs"]
    assert sorted(after.changed_names(ShardMap())) == ["images", "notes", "songs"]
    assert after.changed_names(after.changed(3, ["alpha"], [])) == []


def test_a_change_leaves_the_other_collections_the_same_objects() -> None:
    before = a_map(make("docs"), make("images"))
    after = before.changed(2, ["alpha", "beta"], [Change("images", None), Change("notes", make("notes"))])
    assert after.collection("docs") is before.collection("docs")


def test_collections_are_counted_by_pod() -> None:
    counts = a_map(make("a"), make("b"), make("c", "beta")).collection_counts()
    assert counts == {"alpha": 2, "beta": 1}
    assert counts["gamma"] == 0
