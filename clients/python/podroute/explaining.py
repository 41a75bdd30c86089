"""Explain: from a call as a value to the call that explains it. No I/O."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

from podroute import answers, messages
from podroute.calls import Call, Method
from podroute.data_plane import DataPlane
from podroute.errors import InvalidArgument
from podroute.index_messages import finding
from podroute.queries import Count, Delete, Query
from podroute.v1 import shard_map_service_pb2 as shard_maps
from podroute.v1 import vector_service_pb2 as vectors
from podroute.values import Explanation

EXPLAIN = Method("/podroute.v1.ShardMapService/Explain", shard_maps.ExplainResponse)


class Explaining(DataPlane):
    """Shows how calls are run."""

    __slots__ = ()

    def explain(
        self, asked: Query | Count | Delete, *, analyze: bool = False, timeout: float | None = None
    ) -> Call[shard_maps.ExplainResponse, Explanation]:
        """How the router runs a call: its SQL, the primary's SQL, the plan, and what the pod does not do.

        Nothing is written.

        Args:
            asked: a `podroute.Query`, `podroute.Count` or `podroute.Delete`. Its path chooses what is explained.
            analyze: run it, to tell how long each step takes; not a Delete.
            timeout: seconds; default: the client's.
        """
        with messages.refusing("analyze"):
            request = shard_maps.ExplainRequest(analyze=analyze)
        match asked:
            case Query():
                request.query.CopyFrom(cast("vectors.QueryRequest", self.query(**_arguments(asked)).request))
            case Count():
                request.count.CopyFrom(cast("vectors.CountRequest", self.count(**_arguments(asked)).request))
            case Delete():
                request.delete.CopyFrom(cast("vectors.DeleteRequest", self.delete(**_arguments(asked)).request))
            case _:
                raise InvalidArgument.at("asked", "must be a podroute.Query, Count or Delete", "ARGUMENT_TYPE")
        return Call(method=EXPLAIN, request=request, decode=_explanation, timeout_s=self._timeout_s(timeout))


def _arguments(asked: Query | Count | Delete) -> dict[str, Any]:
    return {each.name: getattr(asked, each.name) for each in fields(asked)}


def _explanation(message: shard_maps.ExplainResponse) -> Explanation:
    return Explanation(
        sql=message.sql,
        settings=dict(message.settings),
        remote_sql=tuple(message.remote_sql),
        plan=message.plan,
        findings=tuple(finding(each) for each in message.findings),
        route=answers.route(message.route),
    )
