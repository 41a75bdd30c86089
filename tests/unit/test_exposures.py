"""Exposures as values: what can be none, and what is registered is what was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from podroute.v1 import collection_service_pb2
from podroute_fdw import exposed_objects
from podroute_router.api.exposure_messages import from_exposure, to_exposure, to_exposure_name
from podroute_router.config import Config, make_config
from podroute_router.domain import Collection, Metric, Placement
from podroute_router.errors import InvalidArgument
from podroute_router.exposures import (
    ColumnType,
    Exposed,
    ExposedColumn,
    ExposingFacts,
    Exposure,
    check_exposure,
    column_from_values,
    column_values,
    texts_sort_alike,
)

URL = ExposedColumn(name="url", type=ColumnType.TEXT, path=("url",), indexed=True)
DOCS = Exposure(collection="docs", schema="public", view="docs", columns=(URL,), roles=("web",))
EXPOSED = Exposed(
    exposure=DOCS,
    collection=Collection(
        name="docs", dimension=3, metric=Metric.L2, placement=Placement(pod="alpha", schema="vecs", table="docs")
    ),
    is_foreign=True,
)


def config(**changes: object) -> Config:
    pod = {"dsn": "host=127.0.0.1 port=5433 dbname=vectors user=podroute", "password": "of a pod"} | changes
    return make_config(
        {"primary": {"dsn": "host=127.0.0.1 dbname=app user=podroute", "password": "of a pod"}, "pods": {"alpha": pod}}
    )


@pytest.mark.parametrize(
    ("exposure", "reason", "field"),
    [
        (replace(DOCS, schema="pg_temp"), "SCHEMA_NAME", "view_schema"),
        (replace(DOCS, schema="podroute_fdw"), "SCHEMA_NAME", "view_schema"),
        (replace(DOCS, schema="a\0b"), "SCHEMA_NAME", "view_schema"),
        (replace(DOCS, view="ä" * 32), "VIEW_NAME", "view_name"),
        (replace(DOCS, columns=(URL, replace(URL, name=""))), "COLUMN_NAME", "columns[1].name"),
        (replace(DOCS, columns=(URL, URL)), "COLUMN_NAME", "columns[1].name"),
        (replace(DOCS, columns=(replace(URL, name="embedding"),)), "COLUMN_NAME", "columns[0].name"),
        (replace(DOCS, columns=(replace(URL, name="xmin"),)), "COLUMN_NAME", "columns[0].name"),
        (replace(DOCS, columns=(replace(URL, path=("a",) * 17),)), "COLUMN_PATH", "columns[0].path"),
        (replace(DOCS, columns=(replace(URL, path=("a", "\0")),)), "COLUMN_PATH", "columns[0].path[1]"),
        (replace(DOCS, columns=(replace(URL, type=ColumnType.JSONB),)), "COLUMN_INDEXED", "columns[0].indexed"),
        (replace(DOCS, columns=(URL,) * 101), "COLUMN_COUNT", "columns"),
        (replace(DOCS, roles=("r",) * 101), "ROLE_COUNT", "roles"),
        (replace(DOCS, roles=("web", "")), "ROLE_NAME", "roles[1]"),
    ],
)
def test_what_can_be_no_exposure_is_refused_with_the_field_at_fault(
    exposure: Exposure, reason: str, field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_exposure(exposure)
    assert (refused.value.reason, refused.value.field) == (reason, field)


def test_what_is_left_out_has_its_default() -> None:
    asked = collection_service_pb2.ExposeCollectionRequest(collection="docs", columns=[{"name": "url"}])
    wanted = Exposure(collection="docs", schema="public", view="docs", columns=(replace(URL, indexed=False),))
    assert to_exposure(asked) == wanted
    named = collection_service_pb2.UnexposeCollectionRequest(collection="docs")
    assert to_exposure_name(named) == ("docs", "public", "docs")


def test_a_type_that_is_none_is_refused() -> None:
    asked = collection_service_pb2.ExposeCollectionRequest(collection="docs", columns=[{"name": "n", "type": 99}])
    with pytest.raises(InvalidArgument) as refused:
        to_exposure(asked)
    assert (refused.value.reason, refused.value.field) == ("COLUMN_TYPE", "columns[0].type")


@pytest.mark.parametrize("kind", list(ColumnType))
def test_every_type_comes_back_as_it_was_asked_for(kind: ColumnType) -> None:
    column = ExposedColumn(name="c", type=kind, path=("a", "b"))
    assert column_from_values(column_values(column)) == column
    shown = from_exposure(replace(DOCS, columns=(column,)))
    asked = collection_service_pb2.ExposeCollectionRequest(
        collection="docs", view_schema=shown.view_schema, view_name=shown.view_name, columns=shown.columns
    )
    assert to_exposure(asked).columns == (column,)


def test_texts_keep_the_order_of_the_databases_where_both_have_it() -> None:
    german, english = (ExposingFacts(text_order=name, vector_schema="public") for name in ("c/de_DE", "c/en_GB"))
    assert texts_sort_alike(german, None)
    assert texts_sort_alike(german, german)
    assert not texts_sort_alike(german, english)


def test_a_foreign_table_is_another_one_as_soon_as_it_is_made_of_something_else() -> None:
    wide = replace(EXPOSED.collection, dimension=4)
    moved = replace(EXPOSED.collection, placement=replace(EXPOSED.collection.placement, pod="beta"))
    others = [
        replace(EXPOSED, collection=wide),
        replace(EXPOSED, collection=moved),
        replace(EXPOSED, exposure=replace(DOCS, code_point_order=True)),
        replace(EXPOSED, exposure=replace(DOCS, columns=(replace(URL, name="link"),))),
    ]
    names = {exposed_objects.table(each, "public").name for each in (EXPOSED, *others)}
    assert len(names) == 5
    assert {name.startswith(exposed_objects.prefix(DOCS)) for name in names} == {True}
    assert not exposed_objects.table(replace(EXPOSED, exposure=replace(DOCS, view="other")), "public").name.startswith(
        exposed_objects.prefix(DOCS)
    )
    longest = replace(EXPOSED, exposure=replace(DOCS, collection="c" * 48))
    assert len(exposed_objects.table(longest, "public").name) <= 63


def test_sql_users_come_to_the_pod_as_a_reader_with_a_password_that_is_never_shown() -> None:
    known = config()
    assert known.primary is not None
    server = exposed_objects.server(known, "alpha", primary=known.primary)
    assert {"extensions": "vector", "use_remote_estimate": "true", "port": "5433"}.items() <= server.options.items()
    assert "-c role=podroute_reader" in server.options["options"]
    assert "-c default_transaction_read_only=on" in server.options["options"]
    assert "use_scram_passthrough" not in server.options
    assert server.mapping == {"user": "podroute", "password": "of a pod"}
    assert "of a pod" not in repr(server)
