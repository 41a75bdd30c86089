"""What a router has yet to compare is neither lost nor compared twice."""

from __future__ import annotations

from podroute_fdw.agenda import Agenda
from podroute_router.domain import Collection, Metric, Placement
from podroute_router.shard_map import Change, ShardMap


def known(name: str) -> Change:
    placement = Placement(pod="alpha", schema="vecs", table=name)
    return Change(name, Collection(name=name, dimension=3, metric=Metric.L2, placement=placement))


FIRST = ShardMap().changed(1, ["alpha"], [known("a"), known("b")])
SECOND = FIRST.changed(2, ["alpha"], [known("c"), Change("a", None)])


def done(shard_map: ShardMap) -> Agenda:
    agenda = Agenda()
    agenda.take_up(shard_map)
    agenda.strike_all()
    return agenda


def test_the_first_map_puts_everything_on_the_agenda() -> None:
    agenda = Agenda()
    agenda.take_up(FIRST)
    assert (agenda.pods, agenda.collections) == (["alpha"], ["a", "b"])
    assert agenda.servers
    assert agenda.unknown_tables
    assert not agenda.is_done(FIRST)


def test_a_further_map_adds_what_has_changed_and_nothing_else() -> None:
    agenda = done(FIRST)
    assert agenda.is_done(FIRST)
    assert not agenda.is_done(SECOND)
    agenda.take_up(SECOND)
    assert (agenda.pods, set(agenda.collections)) == ([], {"a", "c"})
    assert not agenda.servers
    assert not agenda.unknown_tables


def test_a_pod_that_comes_or_goes_has_its_control_table_and_the_servers_compared() -> None:
    agenda = done(FIRST)
    agenda.take_up(FIRST.changed(2, ["beta"], []))
    assert (set(agenda.pods), agenda.collections) == ({"alpha", "beta"}, [])
    assert agenda.servers


def test_what_was_not_struck_off_is_still_there_with_the_next_map() -> None:
    agenda = Agenda()
    agenda.take_up(FIRST)
    agenda.servers = False
    agenda.strike_pods(["alpha"])
    agenda.strike_collections(["a"])
    agenda.take_up(FIRST)
    assert (agenda.pods, agenda.collections) == ([], ["b"])
    agenda.take_up(SECOND)
    assert (agenda.pods, set(agenda.collections)) == ([], {"a", "b", "c"})
    assert (agenda.servers, agenda.unknown_tables) == (False, True)
    agenda.strike_all()
    assert agenda.is_done(SECOND)


def test_begun_anew_everything_is_compared_once_more_beginning_with_what_failed() -> None:
    agenda = done(FIRST)
    agenda.begin_anew(first="b")
    assert not agenda.is_done(FIRST)
    agenda.take_up(FIRST)
    assert (agenda.pods, agenda.collections) == (["alpha"], ["b", "a"])
    assert agenda.servers
    assert agenda.unknown_tables
