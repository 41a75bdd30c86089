"""Finds plugins by their entry points and fills the registry of backend factories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pluggy

from podroute_router import hookspecs
from podroute_router.backend import API_VERSION, BackendFactory


class PluginError(Exception):
    """A plugin cannot be used; the router does not start."""


def load_backend_factories(plugins: Iterable[object] | None = None) -> Mapping[str, BackendFactory]:
    """The backend factories by name.

    Args:
        plugins: plugin objects to use in place of the installed ones (entry-point group ``podroute``).

    Raises:
        PluginError: a hook is unknown, a name is taken twice, or an api version is not ours.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    if plugins is None:
        manager.load_setuptools_entrypoints(hookspecs.PROJECT)
    else:
        for plugin in plugins:
            manager.register(plugin)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(str(error)) from error
    factories: dict[str, BackendFactory] = {}
    for offered in reversed(manager.hook.podroute_backends()):
        for factory in offered:
            if factory.api_version != API_VERSION:
                raise PluginError(
                    f"backend {factory.name!r} is written for plugin API {factory.api_version}, "
                    f"this router has {API_VERSION}"
                )
            if factory.name in factories:
                raise PluginError(f"two plugins offer a backend named {factory.name!r}")
            factories[factory.name] = factory
    return factories
