"""A saved shard map comes back whole or not at all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podroute_router.catalog import saved_map
from podroute_router.catalog.saved_map import SavedMapError
from podroute_router.config import Database
from podroute_router.domain import Collection, Metric, Placement
from podroute_router.shard_map import Change, ShardMap

names = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
tables = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@st.composite
def collections(draw: st.DrawFn) -> Collection:
    placement = Placement(
        pod=draw(names), schema=draw(tables), table=draw(tables), generation=draw(st.integers(1, 2**62))
    )
    return Collection(
        name=draw(names),
        dimension=draw(st.integers(1, 16_000)),
        metric=draw(st.sampled_from(Metric)),
        placement=placement,
    )


@st.composite
def shard_maps(draw: st.DrawFn) -> ShardMap:
    changes = [Change(collection.name, collection) for collection in draw(st.lists(collections(), max_size=5))]
    return ShardMap().changed(draw(st.integers(0, 2**62)), draw(st.lists(names, max_size=4)), changes)


def a_map(revision: int = 7) -> ShardMap:
    placement = Placement(pod="alpha", schema="vecs", table='Odd "näme"', generation=3)
    docs = Collection(name="docs", dimension=384, metric=Metric.INNER_PRODUCT, placement=placement)
    return ShardMap().changed(revision, ["alpha", "beta"], [Change("docs", docs)])


@given(shard_maps())
def test_any_map_comes_back_as_it_was(shard_map: ShardMap) -> None:
    assert saved_map.decode(saved_map.encode(shard_map)) == shard_map


def test_one_map_has_one_encoding_whatever_the_way_to_it() -> None:
    extra = Change("extra", a_map().collection("docs"))
    in_steps = a_map().changed(8, ["beta"], [extra]).changed(7, ["beta", "alpha"], [Change("extra", None)])
    assert saved_map.encode(in_steps) == saved_map.encode(a_map())


@given(st.lists(st.tuples(collections(), st.booleans()), max_size=12))
def test_an_encoder_that_saw_the_maps_before_encodes_as_one_that_did_not(steps: list[tuple[Collection, bool]]) -> None:
    encoder, held = saved_map.Encoder(), a_map()
    for revision, (collection, stays) in enumerate(steps, start=8):
        change = Change(collection.name, collection if stays else None)
        held = held.changed(revision, ["alpha"], [change, *([] if stays else [Change("docs", None)])])
        assert encoder.encode(held) == saved_map.encode(held)


def test_many_collections_are_encoded_with_breaths_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    breaths: list[float] = []
    monkeypatch.setattr(saved_map.time, "sleep", breaths.append)
    docs = a_map().collection("docs")
    changes = [Change(f"c{n}", replace(docs, name=f"c{n}")) for n in range(5 * saved_map.BREATH)]
    many, encoder = ShardMap().changed(7, ["alpha"], changes), saved_map.Encoder()
    assert saved_map.decode(encoder.encode(many)) == many
    assert len(breaths) == 5
    one_more = many.changed(8, ["alpha"], [Change("docs", docs)])
    assert saved_map.decode(encoder.encode(one_more)) == one_more
    assert len(breaths) == 5, "what stays as it is is not encoded again"


def test_no_changed_byte_goes_unnoticed() -> None:
    content = saved_map.encode(a_map())
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x01
        with pytest.raises(SavedMapError):
            saved_map.decode(bytes(damaged))


def test_no_shortened_map_is_taken() -> None:
    content = saved_map.encode(a_map())
    for length in range(len(content)):
        with pytest.raises(SavedMapError):
            saved_map.decode(content[:length])


@pytest.mark.parametrize("content", [b"[1]\n{}\n", b"7\n", b"\xff\xfe\n{}\n", b"{}\n{}\n"])
def test_other_content_is_refused(content: bytes) -> None:
    with pytest.raises(SavedMapError):
        saved_map.decode(content)


def test_a_map_with_something_missing_is_refused_though_its_checksum_is_right() -> None:
    body = b'{"revision":1,"pods":[]}\n'
    header = json.dumps({"format": saved_map.FORMAT, "sha256": hashlib.sha256(body).hexdigest()}).encode()
    with pytest.raises(SavedMapError, match="cannot be read"):
        saved_map.decode(header + b"\n" + body)


def test_another_format_is_refused_by_its_number() -> None:
    header, _, body = saved_map.encode(a_map()).partition(b"\n")
    later = json.dumps({**json.loads(header), "format": 2}).encode()
    with pytest.raises(SavedMapError, match="has format 2; this router reads format 1"):
        saved_map.decode(later + b"\n" + body)


def test_a_file_comes_back_as_it_was_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "shard_map.json"
    saved_map.save(a_map(), path)
    assert saved_map.load(path) == a_map()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_later_map_takes_the_place_of_the_earlier_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "shard_map.json"
    saved_map.save(a_map(7), path)
    saved_map.save(a_map(8), path)
    assert saved_map.load(path) == a_map(8)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_no_map(tmp_path: Path) -> None:
    assert saved_map.load(tmp_path / "shard_map.json") is None


def test_a_damaged_file_is_refused_by_its_name_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "shard_map.json"
    damaged = saved_map.encode(a_map()).replace(b"alpha", b"alphb")
    path.write_bytes(damaged)
    with pytest.raises(SavedMapError, match="does not match its checksum") as caught:
        saved_map.load(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == damaged


def test_a_file_that_cannot_be_read_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(SavedMapError, match="cannot be read") as caught:
        saved_map.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_map_that_cannot_be_saved_leaves_nothing_behind(tmp_path: Path) -> None:
    taken = tmp_path / "shard_map.json"
    taken.mkdir()
    with pytest.raises(OSError, match="irectory"):
        saved_map.save(a_map(), taken)
    assert list(tmp_path.iterdir()) == [taken]


def test_a_map_of_another_catalog_is_refused_and_one_that_does_not_say_it_is_taken(tmp_path: Path) -> None:
    path, here = tmp_path / "map", saved_map.catalog_mark(Database(dsn="host=here port=5432 dbname=app user=podroute"))
    saved_map.save(a_map(), path, saved_map.Encoder(here))
    assert saved_map.load(path, here) == a_map()
    there = saved_map.catalog_mark(Database(dsn="host=there port=5432 dbname=app user=podroute"))
    with pytest.raises(SavedMapError, match="another address"):
        saved_map.load(path, there)
    saved_map.save(a_map(), path)  # as routers wrote it that knew no marks
    assert saved_map.load(path, there) == a_map()


def test_one_catalog_has_one_mark_whoever_logs_in_and_however_the_address_is_spelt() -> None:
    marks = {
        saved_map.catalog_mark(Database(dsn=dsn))
        for dsn in (
            "host=here port=5432 dbname=app user=one",
            "user=two dbname=app port=5432 host=here connect_timeout=3",
            "postgresql://here:5432/app",
        )
    }
    assert len(marks) == 1


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_a_body_of_any_kind_is_refused_though_its_checksum_is_right(body: bytes) -> None:
    header = json.dumps({"format": saved_map.FORMAT, "sha256": hashlib.sha256(body).hexdigest()}).encode()
    with pytest.raises(SavedMapError):
        saved_map.decode(header + b"\n" + body, "a mark")
