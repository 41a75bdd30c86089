"""A process with one gRPC caller. Blocking calls of ready-made bytes: as little of the machine as Python can take.

Commands: {target} answers every query once with {ids}; {target, window} puts load on and answers {seconds}.
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

METHOD = "/podroute.v1.VectorService/Query"


class Target:
    """A server, and the requests that it is sent."""

    def __init__(self, target: dict[str, Any], queries: Vectors) -> None:
        self._payloads = []
        for query in queries:
            request = vector_service_pb2.QueryRequest(
                collection=target["collection"], limit=target["limit"], path=target["path"]
            )
            request.vector.values.extend(query.tolist())
            self._payloads.append(request.SerializeToString())
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


def main(queries_file: str, first: int) -> None:
    """Obeys commands until stdin ends; load begins with query `first`."""
    queries = np.load(queries_file)
    targets: dict[str, Target] = {}
    say({"ready": True})
    for line in sys.stdin:
        command = json.loads(line)
        key = json.dumps(command["target"])
        if key not in targets:
            targets[key] = Target(command["target"], queries)
        target = targets[key]
        if "window" in command:
            say({"seconds": Window(*command["window"]).timed(target.call, first)})
        else:
            say({"ids": target.answers()})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
