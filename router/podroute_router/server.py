"""The composition root: puts a router together from its configuration, runs it, and takes it apart."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Self

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as grpc_health
from prometheus_client import ProcessCollector

from podroute_router.api.server import bind, build_grpc_server
from podroute_router.backend import (
    Backend,
    BackendContext,
    BackendFactory,
    CollectionStore,
    MapFollower,
    PodProbe,
    PoolHolder,
)
from podroute_router.breaker import Breaker
from podroute_router.catalog.store import CatalogStore
from podroute_router.catalog.watcher import ShardMapSource
from podroute_router.collections import Collections, PodState
from podroute_router.config import Config, ConfigError
from podroute_router.doctor import FirstLook
from podroute_router.domain import AccessPath, Deadline
from podroute_router.engine import Engine
from podroute_router.errors import PodrouteError
from podroute_router.fail_fast import FailFast
from podroute_router.following import Following
from podroute_router.logins import LoginsAwaited
from podroute_router.metrics.admin import AdminServer
from podroute_router.metrics.definitions import Metrics
from podroute_router.metrics.exposition import written
from podroute_router.metrics.gauges import Gauges, Looks
from podroute_router.plugins import load_backend_factories
from podroute_router.postgres.pool import Pool
from podroute_router.prober import Prober
from podroute_router.shard_map import ShardMap
from podroute_router.wrappers import CallsBounded, DeadlineKept

SAVED_MAP = "shard_map.json"
"""File of the saved shard map in `router.state_dir`."""

CATALOG_CONNECTIONS = 2
CATALOG_START_S = 5.0
"""How long the catalog is waited for at start before the saved map is taken."""

_Status = health_pb2.HealthCheckResponse.ServingStatus
_log = logging.getLogger(__name__)


class Router:
    """A router that serves, from `start` to `stop`."""

    def __init__(self, config: Config, factories: Mapping[str, BackendFactory], *, share_port: bool = False) -> None:
        """Puts the parts together; nothing is connected yet. Needs a running event loop."""
        self._config = config
        self.metrics = Metrics()
        """What it counts."""
        self._backends = open_backends(config, factories, self.metrics)
        direct = self._backends[AccessPath.DIRECT]
        if not isinstance(direct, CollectionStore):
            raise ConfigError(f"router.direct_backend: {config.router.direct_backend!r} cannot make collections")
        self._catalog_pool = Pool(
            config.catalog_database,
            size=CATALOG_CONNECTIONS,
            linger_s=CATALOG_START_S,
            connect_timeout_s=config.timeouts.connect_s,
            facts={"database": "catalog"},
        )
        self._catalog = CatalogStore(self._catalog_pool)
        state_dir = config.router.state_dir
        self._maps = ShardMapSource(
            database=config.catalog_database,
            store=self._catalog,
            timeouts=config.timeouts,
            saved_map=state_dir / SAVED_MAP if state_dir is not None else None,
        )
        self._health = grpc_health.HealthServicer()
        probes = {path: backend for path, backend in self._backends.items() if isinstance(backend, PodProbe)}
        self.breakers = {
            (path, pod): Breaker(on_demand=path is AccessPath.DIRECT) for path in probes for pod in config.pods
        }
        """Whether a pod is taken to be down, by access path and pod."""
        self._prober = Prober(
            probes, self.breakers, interval_s=config.timeouts.probe_interval_s, on_change=self._on_pod_change
        )
        self._collections = Collections(
            config=config,
            maps=self._maps,
            catalog=self._catalog,
            store=direct,
            primary=self._backends.get(AccessPath.FDW),
            followers=[backend for backend in self._backends.values() if isinstance(backend, MapFollower)],
            pod_states=self._prober.states,
        )
        self._following = Following(
            {
                "registering pods": self._register_pods,
                "readying the FDW path": self._collections.follow,
                "readying the exposures": self._collections.exposing.follow,
                "looking for drift": FirstLook(
                    self._backends.values(), config.pods, self._maps, self._collections.exposing.exposed
                ).follow,
            }
        )
        self._in_flight: Counter[str] = Counter()
        self._server = self._build_server(share_port=share_port)
        self.port = 0
        """The port that is listened on; 0 before `start`."""
        self._gauges = Gauges(self.metrics, self._looks())
        self._is_serving = False
        self.admin = AdminServer(partial(written, self.metrics.registry), lambda: self._is_serving)
        """Shows the metrics, where the configuration says so."""

    @classmethod
    async def start(
        cls, config: Config, factories: Mapping[str, BackendFactory] | None = None, *, share_port: bool = False
    ) -> Self:
        """A router that accepts calls.

        Args:
            config: the whole configuration.
            factories: backends by name; None takes those of the installed plugins.
            share_port: other routers may listen on the port too, if they ask for the same.

        Raises:
            config.ConfigError, plugins.PluginError, saved_map.SavedMapError: it cannot start so.
            errors.PodrouteError: the catalog does not serve, and there is no saved map.
        """
        router = cls(config, load_backend_factories() if factories is None else factories, share_port=share_port)
        try:
            await router._start()
        except BaseException:
            await router.stop(grace_s=0)
            raise
        return router

    @property
    def address(self) -> str:
        """Where callers reach it, as `host:port`."""
        return f"{self._config.router.listen.rpartition(':')[0]}:{self.port}"

    async def stop(self, *, grace_s: float | None = None) -> None:
        """Says NOT_SERVING, lets the calls in flight end within the grace, and lets go of everything.

        Without a grace of its own it takes calls for `drain_s` before, and then waits for `shutdown_s`.
        """
        timeouts = self._config.timeouts
        self._is_serving = False
        await self._health.enter_graceful_shutdown()
        if grace_s is None:
            await asyncio.sleep(timeouts.drain_s)  # whoever looks at health sends no more calls meanwhile
        await self._server.stop(timeouts.shutdown_s if grace_s is None else grace_s)
        await self._prober.close()
        await self._following.close()
        await self._maps.close()
        for backend in self._backends.values():
            await backend.close()
        await self._catalog_pool.close()
        await self._gauges.close()
        await self.admin.close()

    async def _start(self) -> None:
        self.port = bind(self._server, self._config.router.listen)
        if self._config.router.admin_listen:
            ProcessCollector(registry=self.metrics.registry)
            await self.admin.start(self._config.router.admin_listen)
        self._gauges.start()
        self._maps.subscribe(self._following.notice)
        await self._maps.start(CATALOG_START_S)
        with suppress(PodrouteError):  # where there is only a saved map; tried again in the background
            await self._register_pods(self._maps.current, Deadline.after(CATALOG_START_S))
        self._following.notice(self._maps.current)
        self._following.start()
        for pod in self._config.pods:
            await self._health.set(f"pod:{pod}", _Status.NOT_SERVING)
        self._prober.start()
        await self._health.set("", _Status.SERVING)
        await self._server.start()
        self._is_serving = True

    def _build_server(self, *, share_port: bool) -> grpc.aio.Server:
        config = self._config
        direct = self._breakers_of(AccessPath.DIRECT)
        engine = Engine(
            maps=self._maps,
            backends={path: self._wrapped(path, backend) for path, backend in self._backends.items()},
            is_on_primary=config.is_on_primary,
            is_reachable=lambda pod: pod not in direct or not direct[pod].is_open,
        )
        return build_grpc_server(
            config,
            engine,
            self._collections,
            self._health,
            share_port=share_port,
            metrics=self.metrics,
            current_map=lambda: self._maps.current,
        )

    def _wrapped(self, path: AccessPath, backend: Backend) -> Backend:
        """The backend with what every call of it meets, the outermost last."""
        if path is AccessPath.FDW:
            backend = LoginsAwaited(backend)
        bounded = CallsBounded(backend, limit=self._config.limits.calls_per_pod, in_flight=self._in_flight)

        async def trial(pod: str, patience_s: float) -> None:
            bounded.enter(pod)  # a call that waits is in flight
            try:
                await self._prober.trial(path, pod, patience_s)
            finally:
                bounded.leave(pod)

        look = partial(self._prober.look, path)
        return FailFast(DeadlineKept(bounded), path, self._breakers_of(path), look=look, trial=trial)

    def _breakers_of(self, path: AccessPath) -> dict[str, Breaker]:
        return {pod: breaker for (of, pod), breaker in self.breakers.items() if of is path}

    def _looks(self) -> Looks:
        """Where the gauges look."""
        return Looks(
            pools={path: backend for path, backend in self._backends.items() if isinstance(backend, PoolHolder)},
            in_flight=lambda: self._in_flight,
            breakers=lambda: {place: breaker.state for place, breaker in self.breakers.items()},
            pods_up=lambda: {pod: state is PodState.SERVING for pod, state in self._prober.states.items()},
            revision=lambda: self._maps.revision,
            age_s=lambda: self._maps.age_s,
        )

    async def _register_pods(self, shard_map: ShardMap, deadline: Deadline) -> None:
        """The catalog learns of the pods that this router has an address for."""
        missing = sorted(self._config.pods.keys() - shard_map.pods)
        if missing:
            await self._catalog.register_pods(missing, deadline)
            await self._maps.refresh(deadline)

    async def _on_pod_change(self, pod: str, state: PodState) -> None:
        serving = state is PodState.SERVING
        await self._health.set(f"pod:{pod}", _Status.SERVING if serving else _Status.NOT_SERVING)


async def serve(
    config: Config, *, on_ready: Callable[[Router], None] = lambda _: None, share_port: bool = False
) -> None:
    """Runs a router until SIGTERM or SIGINT; for `share_port` see `Router.start`."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        router = await Router.start(config, share_port=share_port)
        gc.collect()
        gc.freeze()  # what is here stays; going through it in each full collection took 50 ms, with all calls waiting
        _log.info("serving on %s", router.address)
        on_ready(router)
        try:
            await stopping.wait()
            _log.info("stopping")
        finally:
            await router.stop()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def open_backends(
    config: Config, factories: Mapping[str, BackendFactory], metrics: Metrics | None = None
) -> dict[AccessPath, Backend]:
    """The backend of each path. A backend may have nothing to serve, as FDW where there is no primary."""
    backends: dict[AccessPath, Backend] = {}
    for path, key, name in (
        (AccessPath.DIRECT, "direct_backend", config.router.direct_backend),
        (AccessPath.FDW, "fdw_backend", config.router.fdw_backend),
    ):
        factory = factories.get(name)
        if factory is None:
            raise ConfigError(f"router.{key}: no plugin offers a backend {name!r}; there are {sorted(factories)}")
        if factory.access_path is not path:
            raise ConfigError(f"router.{key}: backend {name!r} serves {factory.access_path.name}, not {path.name}")
        backend = factory.open(
            BackendContext(config) if metrics is None else BackendContext(config, partial(metrics.measures, path))
        )
        if backend is not None:
            backends[path] = backend
    if AccessPath.DIRECT not in backends:
        raise ConfigError(f"router.direct_backend: {config.router.direct_backend!r} has nothing to serve")
    return backends
