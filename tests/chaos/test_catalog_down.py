"""The catalog is down: records are served as before, routers start from the map they saved, admin calls say so.

Controls: a path that does need the server (FDW, where it is the primary) fails meanwhile; without the saved map a
router does not start; a damaged map, or another cluster's, is never served from.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import podroute
import pytest
import pytest_asyncio
from podroute_command import run, started
from podroute_router.catalog.saved_map import encode
from podroute_router.config import make_config
from podroute_router.domain import Collection as Stored
from podroute_router.domain import Metric, Placement
from podroute_router.embedded import Cluster, Server
from podroute_router.embedded.ports import free_port
from podroute_router.server import SAVED_MAP, Router
from podroute_router.shard_map import Change, ShardMap
from servers import router_values

from .callers import NO_RETRIES
from .clusters import CATALOG, catalog_server, cluster_with_catalog
from .fleet import RouterTarget
from .ledger import DIMENSION
from .report import Report, Result
from .routers import write_config
from .scale import Scale

COLLECTION = "kept"
PATH_ALONE = ("direct", "auto")
BOTH = ("direct", "fdw", "auto")
CANNOT_START = 2


def values_of(cluster: Cluster, state_dir: Path) -> dict[str, Any]:
    values = router_values(cluster)
    values["router"]["state_dir"] = str(state_dir)
    if CATALOG in values["pods"]:
        values["catalog"] = values["pods"].pop(CATALOG)
    return values


@contextmanager
def killed(server: Server) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


TROUBLES: Mapping[str, Callable[[Server], Any]] = {"killed": killed, "frozen": frozen}


class Users:
    """Callers of one collection, each over one path, as fast as they are answered."""

    def __init__(self, client: podroute.AsyncClient, paths: tuple[podroute.Path, ...]) -> None:
        self._client = client
        self._paths = paths
        self.calls = 0
        self.errors: Counter[str] = Counter()
        self.slowest_s = 0.0

    async def call(self, seconds: float) -> None:
        """Upserts, queries and fetches for a while."""
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._call(path, end) for path in self._paths))

    async def _call(self, path: podroute.Path, end: float) -> None:
        number = 0
        while time.monotonic() < end:
            number += 1
            vector = [float(number)] * DIMENSION
            await self._time(path, self._client.upsert(COLLECTION, [(path, vector, {"number": number})], path=path))
            await self._time(path, self._client.query(COLLECTION, vector, path=path))
            await self._time(path, self._client.fetch(COLLECTION, [path], path=path))

    async def _time(self, path: podroute.Path, call: Awaitable[object]) -> None:
        began = time.monotonic()
        self.calls += 1
        try:
            await call
        except podroute.Error as error:
            self.errors[f"{path}: {error.code.name} {error.reason}"] += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)


async def admin_calls(client: podroute.AsyncClient, timeout: float) -> Counter[str]:  # noqa: ASYNC109
    """How each call ends that changes the catalog."""
    calls: Mapping[str, Callable[[], Awaitable[object]]] = {
        "create": lambda: client.create_collection("impossible", DIMENSION, timeout=timeout),
        "delete": lambda: client.delete_collection(COLLECTION, timeout=timeout),
        "adopt": lambda: client.adopt_collection("alpha", "impossible", timeout=timeout),
        "expose": lambda: client.expose_collection(COLLECTION, view="impossible", timeout=timeout),
    }
    ended: Counter[str] = Counter()
    for name, call in calls.items():
        try:
            await call()
        except podroute.Error as error:
            if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:  # told by the router, or by gRPC on the caller's side
                ended[error.code.name] += 1
            else:
                ended[f"{error.code.name} {error.reason}"] += 1
        else:
            ended[f"{name}: OK"] += 1
    return ended


@pytest_asyncio.fixture
async def client(cluster: Cluster, tmp_path: Path) -> AsyncIterator[podroute.AsyncClient]:
    """Of a router of the session's cluster, whose primary has the catalog."""
    async with Serving(cluster, tmp_path) as found:
        yield found


class Serving:
    """A router in this process, with the collection."""

    def __init__(self, cluster: Cluster, state_dir: Path) -> None:
        self._values = values_of(cluster, state_dir)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> podroute.AsyncClient:
        router = await Router.start(make_config(self._values))
        self._stack.push_async_callback(router.stop, grace_s=0)
        self._client = await self._stack.enter_async_context(podroute.AsyncClient(router.address, options=NO_RETRIES))
        await self._client.create_collection(COLLECTION, DIMENSION, metric="l2", pod="alpha")
        return self._client

    async def __aexit__(self, *_: object) -> None:
        async with self._stack:
            for _ in range(100):
                try:
                    await self._client.delete_collection(COLLECTION)
                except podroute.Unavailable:
                    await asyncio.sleep(0.1)
                else:
                    return


async def weather(
    client: podroute.AsyncClient,
    server: Server,
    trouble: str,
    paths: tuple[podroute.Path, ...],
    *,
    seconds: float,
    what: str,
    control: podroute.Path | None,
    report: Report,
) -> None:
    """Calls go on while the catalog's server is in trouble."""
    users = Users(client, paths)
    await users.call(0.3)
    with TROUBLES[trouble](server):
        await users.call(seconds)
        ended = await admin_calls(client, 1.0)
        other = Users(client, () if control is None else (control,))
        await other.call(0.1)
    await users.call(0.3)
    expected = {"killed": {"UNAVAILABLE UNREACHABLE"}, "frozen": {"DEADLINE_EXCEEDED"}}[trouble]
    failures = users.errors.total()
    report.add(
        Result(
            promise=f"Records are served while the catalog is {trouble}: {what}; admin calls say that it is",
            load=f"{len(paths)} callers, {users.calls} upserts, queries and fetches",
            faults=f"the catalog's server {trouble} for {seconds:g} s"
            + (f". Control: over {control} {other.errors.total()} of {other.calls} calls fail" if control else ""),
            figure=f"{failures} errors; admin calls: {', '.join(sorted(ended))}",
            bound=f"0 errors; {', '.join(expected)}",
            held=not failures and set(ended) == expected,
        )
    )
    assert not users.errors
    assert set(ended) == expected
    assert control is None or other.errors


@pytest.mark.full
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_records_are_served_directly_with_the_primary_and_its_catalog_away(
    client: podroute.AsyncClient, cluster: Cluster, trouble: str, scale: Scale, report: Report
) -> None:
    await weather(
        client,
        cluster.primary,
        trouble,
        PATH_ALONE,
        seconds=scale.pick(0.5, 20),
        what="on the primary, over DIRECT and AUTO",
        control="fdw" if trouble == "killed" else None,
        report=report,
    )


@pytest.mark.full
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_records_are_served_on_every_path_with_the_catalog_on_a_server_of_its_own_away(
    trouble: str, scale: Scale, report: Report, tmp_path: Path
) -> None:
    with cluster_with_catalog() as cluster:
        async with Serving(cluster, tmp_path) as client:
            await weather(
                client,
                catalog_server(cluster),
                trouble,
                BOTH,
                seconds=20,
                what="on a server of its own, on every path",
                control=None,
                report=report,
            )


@pytest.mark.full
async def test_a_router_starts_from_its_saved_map_with_the_catalog_down(
    client: podroute.AsyncClient, cluster: Cluster, tmp_path: Path, report: Report
) -> None:
    await client.upsert(COLLECTION, [("a", [1.0] * DIMENSION, {})])
    home = tmp_path / "process"
    home.mkdir()
    values = values_of(cluster, home / "state")
    values["router"]["listen"] = f"127.0.0.1:{free_port()}"
    target = RouterTarget("restarted", values, home)
    try:
        await target.restore()
        await until_saved(home / "state" / SAVED_MAP, COLLECTION)
        await target.kill()
        with killed(cluster.primary):
            began = time.monotonic()
            await target.restore()
            seconds = time.monotonic() - began
            async with podroute.AsyncClient(target.address, options=NO_RETRIES) as restarted:
                users = Users(restarted, PATH_ALONE)
                await users.call(0.3)
                ended = await admin_calls(restarted, 2.0)
    finally:
        target.close()
    held = not users.errors and set(ended) == {"UNAVAILABLE UNREACHABLE"}
    report.add(
        Result(
            promise="A router starts from the map it saved while the catalog is down, and serves",
            load=f"{users.calls} calls over DIRECT and AUTO after the start",
            faults="the router and the catalog killed. Control: without the saved map it does not start",
            figure=f"serves {seconds:.1f} s after the command; {users.errors.total()} errors",
            bound="0 errors",
            held=held,
        )
    )
    assert held, (users.errors, ended)


async def until_saved(file: Path, name: str) -> None:
    for _ in range(300):
        if name in _text(file):
            return
        await asyncio.sleep(0.02)
    pytest.fail("the map was not saved")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def other_clusters_map() -> bytes:
    """One that has the collection too, elsewhere."""
    placement = Placement(pod="beta", schema="vecs", table=COLLECTION)
    kept = Stored(name=COLLECTION, dimension=DIMENSION, metric=Metric.L2, placement=placement)
    return encode(ShardMap().changed(10_000, ["alpha", "beta"], [Change(COLLECTION, kept)]), "another catalog's mark")


DAMAGES: Mapping[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "cannot be read"),
    "truncated": (lambda content: content[: len(content) * 2 // 3], "does not match its checksum"),
    "bytes flipped": (lambda content: content.replace(b"alpha", b"alphb"), "does not match its checksum"),
    "wrong checksum": (lambda content: content.replace(content[24:32], b"00000000", 1), "does not match its checksum"),
    "another cluster's": (lambda _: other_clusters_map(), "is of a catalog at another address"),
}


async def test_a_saved_map_that_is_damaged_or_anothers_is_never_served_from(
    client: podroute.AsyncClient, cluster: Cluster, tmp_path: Path, scale: Scale, report: Report
) -> None:
    await client.upsert(COLLECTION, [("a", [1.0] * DIMENSION, {})])
    whole = tmp_path / SAVED_MAP
    await until_saved(whole, COLLECTION)
    content = whole.read_bytes()
    damages = list(DAMAGES) if scale.full else ["bytes flipped", "another cluster's"]
    homes = {name: tmp_path / f"{number}" for number, name in enumerate(damages)}
    for name, home in homes.items():
        home.mkdir()
        write_config(home / "podroute.toml", values_of(cluster, home))
        (home / SAVED_MAP).write_bytes(DAMAGES[name][0](content))

    async def with_the_catalog_down(home: Path) -> tuple[int, str]:
        ended = await asyncio.to_thread(run, "serve", "--config", home / "podroute.toml")
        return ended.returncode, ended.stderr

    with killed(cluster.primary):
        ended = await asyncio.gather(*map(with_the_catalog_down, homes.values()))
    refused = {
        name: code == CANNOT_START and DAMAGES[name][1] in said and "the catalog does not serve" in said
        for name, (code, said) in zip(homes, ended, strict=True)
    }

    async def with_the_catalog_up(name: str, home: Path) -> bool:
        with started("serve", "--config", home / "podroute.toml") as running:
            address = await asyncio.to_thread(running.wait_for, r"serving on ([^\s\"]+)", on_stderr=True)
            async with podroute.AsyncClient(address) as restarted:
                found = await restarted.fetch(COLLECTION, ["a"], path="direct")
            for _ in range(200):
                if (home / SAVED_MAP).read_bytes() == content:
                    break
                await asyncio.sleep(0.02)
            told = DAMAGES[name][1] in running.err
            return told and len(found.records) == 1 and (home / SAVED_MAP).read_bytes() == content

    mended = dict(
        zip(homes, await asyncio.gather(*(with_the_catalog_up(*each) for each in homes.items())), strict=True)
    )
    held = all(refused.values()) and all(mended.values())
    report.add(
        Result(
            promise="A damaged saved map, or another cluster's, is refused loudly: exit code 2 with the catalog down, "
            "a warning and the catalog's map with it up",
            load=f"starts of `podroute serve`, {len(damages)} with the catalog down and as many with it up",
            faults=", ".join(damages),
            figure=f"{sum(refused.values())} refused, {sum(mended.values())} told of and replaced",
            bound=f"{len(damages)} and {len(damages)}",
            held=held,
        )
    )
    assert refused == dict.fromkeys(damages, True), ended
    assert mended == dict.fromkeys(damages, True)
