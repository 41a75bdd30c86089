"""Both clients have the same methods, with the same parameters, and each tells what it returns."""

from __future__ import annotations

import inspect

import podroute


def public(client: type) -> dict[str, list[inspect.Parameter]]:
    return {
        name: list(inspect.signature(method).parameters.values())
        for name, method in inspect.getmembers(client, callable)
        if not name.startswith("_")
    }


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    assert public(podroute.Client) == public(podroute.AsyncClient)
    assert inspect.signature(podroute.Client) == inspect.signature(podroute.AsyncClient)
    assert set(public(podroute.Client)) == {
        "upsert",
        "upsert_many",
        "query",
        "batch_query",
        "fetch",
        "delete",
        "count",
        "update_metadata",
        "scan",
        "create_collection",
        "get_collection",
        "list_collections",
        "delete_collection",
        "create_index",
        "list_indexes",
        "drop_index",
        "list_adoptable_tables",
        "adopt_collection",
        "expose_collection",
        "unexpose_collection",
        "list_exposures",
        "shard_map",
        "pods",
        "explain",
        "wait_until_serving",
        "close",
    }
    assert list(inspect.signature(podroute.Client.query).parameters) == [
        "self",
        "collection",
        "vector",
        "id",
        "limit",
        "filter",
        "metric",
        "exact",
        "ef_search",
        "probes",
        "iterative_scan",
        "max_scan_tuples",
        "max_distance",
        "include_metadata",
        "metadata_keys",
        "include_vector",
        "path",
        "timeout",
    ]


def test_a_method_tells_what_it_returns() -> None:
    assert inspect.signature(podroute.Client.query).return_annotation is podroute.QueryResult
    assert inspect.iscoroutinefunction(podroute.AsyncClient.query)
    assert inspect.isasyncgenfunction(podroute.AsyncClient.list_collections)
    assert inspect.signature(podroute.Client.create_index).return_annotation is podroute.Index
    assert all(method.__doc__ for name, method in inspect.getmembers(podroute.Client, callable) if name[0] != "_")
