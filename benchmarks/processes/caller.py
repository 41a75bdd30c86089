"""A process with one gRPC caller: blocking calls of ready-made bytes, or of podroute's client, as a service makes them.

Commands: {target} answers every query once with {ids}; {target, first, window} puts load on, beginning with the query
of that number, and answers {seconds}; {target, schedule, share} does so open-loop and answers {seconds, missed}.
A target is {address, queries (a file), collection, path, limit[, ef_search][, client]}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import grpc
import numpy as np
import podroute
from podroute.v1 import vector_service_pb2
from podroute.values import Path as AccessPath

from benchmarks.children import say
from benchmarks.closed_loop import CALL_TIMEOUT_S, Window, first_query
from benchmarks.data import Vectors
from benchmarks.open_loop import Schedule, follow

METHOD = "/podroute.v1.VectorService/Query"


def payload(target: dict[str, Any], query: Vectors) -> bytes:
    """A request as it goes over the wire."""
    request = vector_service_pb2.QueryRequest(
        collection=target["collection"], limit=target["limit"], path=target["path"]
    )
    request.vector.values.extend(query.tolist())
    if "ef_search" in target:
        request.params.ef_search = target["ef_search"]
    return request.SerializeToString()


class Target(Protocol):
    """A server, and the queries that it is asked; they come round and round."""

    def __len__(self) -> int: ...

    def call(self, number: int) -> object:
        """Makes the call of that number."""
        ...

    def answers(self) -> list[list[str]]:
        """The ids that each query finds."""
        ...


class RawTarget:
    """As little of the machine as Python can take: requests are ready, and answers are not looked at."""

    def __init__(self, target: dict[str, Any]) -> None:
        self._payloads = [payload(target, query) for query in np.load(target["queries"])]
        # Without serializers the bytes pass as they are.
        self._rpc: Callable[..., bytes] = grpc.insecure_channel(target["address"]).unary_unary(METHOD)

    def __len__(self) -> int:
        return len(self._payloads)

    def call(self, number: int) -> bytes:
        """See `Target`."""
        return self._rpc(self._payloads[number % len(self._payloads)], timeout=CALL_TIMEOUT_S)

    def answers(self) -> list[list[str]]:
        """See `Target`."""
        responses = (
            vector_service_pb2.QueryResponse.FromString(self.call(number)) for number in range(len(self._payloads))
        )
        return [[match.id for match in response.matches] for response in responses]


class ClientTarget:
    """podroute's client: a numpy vector goes in, a result with its matches comes out."""

    def __init__(self, target: dict[str, Any]) -> None:
        self._client = podroute.Client(target["address"], timeout_s=CALL_TIMEOUT_S)
        self._queries = list(np.load(target["queries"]))
        self._collection, self._limit = target["collection"], target["limit"]
        self._path: AccessPath = "fdw" if target["path"].endswith("FDW") else "direct"

    def __len__(self) -> int:
        return len(self._queries)

    def call(self, number: int) -> podroute.QueryResult:
        """See `Target`."""
        query = self._queries[number % len(self._queries)]
        return self._client.query(self._collection, query, limit=self._limit, path=self._path)

    def answers(self) -> list[list[str]]:
        """See `Target`."""
        return [[match.id for match in self.call(number).matches] for number in range(len(self))]


def main() -> None:
    """Obeys commands until stdin ends."""
    targets: dict[str, Target] = {}
    say({"ready": True})
    for line in sys.stdin:
        command = json.loads(line)
        key = json.dumps(command["target"])
        if key not in targets:
            targets[key] = (ClientTarget if command["target"].get("client") else RawTarget)(command["target"])
        target = targets[key]
        if "window" in command:
            say({"seconds": Window(*command["window"]).timed(target.call, command["first"])})
        elif "schedule" in command:
            schedule = Schedule.from_command(command["schedule"])
            number, callers = command["share"]
            call = partial(_call_from, target, first_query(number, callers, len(target)))
            say(follow(schedule, schedule.share(number, callers), call).as_answer())
        else:
            say({"ids": target.answers()})


def _call_from(target: Target, first: int, number: int) -> object:
    return target.call(first + number)


if __name__ == "__main__":
    main()
