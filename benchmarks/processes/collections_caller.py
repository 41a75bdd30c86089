"""A process with one caller that goes through many collections, query by query.

Commands: {address, collections, window} puts load on and answers {seconds}; {address, collections} asks each collection
once and answers {calls}; {in_turn, window}, of several {address, collections}, makes a call of each in turn and answers
{seconds} of each. It goes on where it was the last time that it asked these collections of that address.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np
from podroute.v1 import route_pb2, vector_service_pb2

from benchmarks.children import say
from benchmarks.closed_loop import CALL_TIMEOUT_S, Window
from benchmarks.growth.stage import DIMENSION
from benchmarks.processes.caller import METHOD

LIMIT = 10
SEED = 20_240_607


class Round:
    """The queries of some collections in an order of no pattern, again and again.

    Args:
        rpc: makes a call.
        collections: their names.
    """

    def __init__(self, rpc: Callable[..., bytes], collections: Sequence[str]) -> None:
        self._rpc = rpc
        random = np.random.default_rng(SEED)
        self._payloads = [
            vector_service_pb2.QueryRequest(
                collection=name,
                vector={"values": random.standard_normal(DIMENSION, dtype=np.float32).tolist()},
                limit=LIMIT,
                path=route_pb2.ACCESS_PATH_DIRECT,
            ).SerializeToString()
            for name in random.permutation(np.asarray(collections)).tolist()
        ]
        self.position = 0

    def __len__(self) -> int:
        return len(self._payloads)

    def call(self, number: int) -> bytes:
        """Makes the call of that number."""
        self.position = number + 1
        return self._rpc(self._payloads[number % len(self._payloads)], timeout=CALL_TIMEOUT_S)


class Rounds:
    """What was asked so far, by whom and of what."""

    def __init__(self) -> None:
        self._rpcs: dict[str, Callable[..., bytes]] = {}
        self._rounds: dict[tuple[str, ...], Round] = {}

    def of(self, target: dict[str, Any]) -> Round:
        """The round of these collections of that address."""
        address, collections = target["address"], target["collections"]
        if address not in self._rpcs:
            # Without serializers the bytes pass as they are.
            self._rpcs[address] = grpc.insecure_channel(address).unary_unary(METHOD)
        key = (address, *collections)
        if key not in self._rounds:
            self._rounds[key] = Round(self._rpcs[address], collections)
        return self._rounds[key]


def in_turn(rounds: Sequence[Round], window: Window) -> list[list[float]]:
    """A call of each round, in another order each time, until the window ends: of each the seconds of its calls."""
    random = np.random.default_rng(SEED)
    taken: list[list[float]] = [[] for _ in rounds]
    done = time.monotonic()
    while done < window.end:
        for number in random.permutation(len(rounds)).tolist():
            began = time.monotonic()
            rounds[number].call(rounds[number].position)
            done = time.monotonic()
            if window.begin <= done < window.end:
                taken[number].append(done - began)
    return taken


def main() -> None:
    """Obeys commands until stdin ends."""
    rounds = Rounds()
    say({"ready": True})
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        if "in_turn" in command:
            asked_in_turn = [rounds.of(target) for target in command["in_turn"]]
            say({"seconds": in_turn(asked_in_turn, Window(*command["window"]))})
            continue
        asked = rounds.of(command)
        if "window" in command:
            say({"seconds": Window(*command["window"]).timed(asked.call, asked.position)})
        else:
            for number in range(len(asked)):
                asked.call(number)
            say({"calls": len(asked)})


if __name__ == "__main__":
    main()
