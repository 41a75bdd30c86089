"""A process with one gRPC caller. Blocking calls of ready-made bytes: as little of the machine as Python can take.

Commands: {target} answers every query once with {ids}; {target, first, window} puts load on, beginning with the query
of that number, and answers {seconds}; {target, schedule, share} does so open-loop and answers {seconds, missed}.
A target is {address, queries (a file), collection, path, limit[, ef_search]}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from podroute.v1 import vector_service_pb2

from benchmarks.children import say
from benchmarks.data import Vectors
from benchmarks.load import CALL_TIMEOUT_S, Window
from benchmarks.schedule import Schedule, follow

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


class Target:
    """A server, and the requests that it is sent."""

    def __init__(self, target: dict[str, Any]) -> None:
        self._payloads = [payload(target, query) for query in np.load(target["queries"])]
        # Without serializers the bytes pass as they are.
        self._rpc: Callable[..., bytes] = grpc.insecure_channel(target["address"]).unary_unary(METHOD)

    def call(self, number: int) -> bytes:
        """Makes the call of that number; the queries come round and round."""
        return self._rpc(self._payloads[number % len(self._payloads)], timeout=CALL_TIMEOUT_S)

    def answers(self) -> list[list[str]]:
        """The ids that each query finds."""
        responses = (
            vector_service_pb2.QueryResponse.FromString(self.call(number)) for number in range(len(self._payloads))
        )
        return [[match.id for match in response.matches] for response in responses]


def main() -> None:
    """Obeys commands until stdin ends."""
    targets: dict[str, Target] = {}
    say({"ready": True})
    for line in sys.stdin:
        command = json.loads(line)
        key = json.dumps(command["target"])
        if key not in targets:
            targets[key] = Target(command["target"])
        target = targets[key]
        if "window" in command:
            say({"seconds": Window(*command["window"]).timed(target.call, command["first"])})
        elif "schedule" in command:
            schedule = Schedule.from_command(command["schedule"])
            say(follow(schedule, schedule.share(*command["share"]), target.call).as_answer())
        else:
            say({"ids": target.answers()})


if __name__ == "__main__":
    main()
