"""Plugins fill a registry once; what does not fit stops the router from starting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from podroute_router import hookspecs
from podroute_router.backend import API_VERSION, Backend, BackendContext, BackendFactory
from podroute_router.domain import AccessPath
from podroute_router.plugins import PluginError, load_backend_factories


@dataclass
class Factory:
    name: str
    api_version: int = API_VERSION
    access_path: AccessPath = AccessPath.DIRECT

    def open(self, context: BackendContext) -> Backend | None:
        return None


def plugin(*factories: BackendFactory) -> object:
    @hookspecs.hookimpl
    def podroute_backends() -> Iterable[BackendFactory]:
        return factories

    return SimpleNamespace(podroute_backends=podroute_backends)


def test_the_built_in_backends_register_through_the_entry_point_group() -> None:
    factories = load_backend_factories()
    assert {name: factories[name].access_path for name in ("pgvector", "fdw", "memory")} == {
        "pgvector": AccessPath.DIRECT,
        "fdw": AccessPath.FDW,
        "memory": AccessPath.DIRECT,
    }


def test_plugins_offer_backends_by_name() -> None:
    assert list(load_backend_factories([plugin(Factory("a")), plugin(Factory("b"), Factory("c"))])) == ["a", "b", "c"]


def test_a_name_taken_twice_is_an_error() -> None:
    with pytest.raises(PluginError, match="two plugins offer a backend named 'a'"):
        load_backend_factories([plugin(Factory("a")), plugin(Factory("a"))])


def test_another_api_version_is_an_error() -> None:
    with pytest.raises(PluginError, match=f"plugin API {API_VERSION + 1}"):
        load_backend_factories([plugin(Factory("a", api_version=API_VERSION + 1))])


def test_an_unknown_hook_is_an_error() -> None:
    @hookspecs.hookimpl
    def podroute_frontends() -> None:
        return None

    with pytest.raises(PluginError, match="podroute_frontends"):
        load_backend_factories([SimpleNamespace(podroute_frontends=podroute_frontends)])


def test_every_hook_is_documented_and_used_by_a_plugin_of_ours() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("podroute_")]
    assert hooks == ["podroute_backends"]
    assert all(getattr(hookspecs, name).__doc__ for name in hooks)
