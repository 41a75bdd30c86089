"""What importing the client brings in, and how it lines up with the contract."""

from __future__ import annotations

import json
import subprocess
import sys

import podroute
import pytest
from google.protobuf import descriptor_pool, duration_pb2, json_format
from podroute import control_plane, data_plane, explaining, exposing
from podroute.calls import Method
from podroute.service_config import SERVICE_CONFIG, channel_options
from podroute.v1 import collection_service_pb2, shard_map_service_pb2, vector_service_pb2

METHODS = [
    value
    for module in (data_plane, control_plane, explaining, exposing)
    for value in vars(module).values()
    if isinstance(value, Method)
]
SERVICES = [
    service
    for module in (vector_service_pb2, collection_service_pb2, shard_map_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
]


def test_the_client_brings_in_neither_the_router_nor_what_only_the_router_needs() -> None:
    program = "import json, sys, podroute; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(done.stdout))
    assert {"podroute", "grpc"} <= loaded
    assert not loaded & {"psycopg", "psycopg_c", "psycopg_binary", "numpy", "pluggy", "pydantic"}
    assert not {name for name in loaded if name.startswith("podroute_")}


def test_every_rpc_of_the_contract_has_its_method_and_the_right_answer() -> None:
    ours = {method.path: method.answer.DESCRIPTOR.full_name for method in METHODS}
    contract = {
        f"/{service.full_name}/{rpc.name}": rpc.output_type.full_name for service in SERVICES for rpc in service.methods
    }
    assert {path: answer for path, answer in ours.items() if path.startswith("/podroute.v1.")} == contract


def test_the_service_config_names_only_what_the_contract_has() -> None:
    pool = descriptor_pool.Default()
    for name in SERVICE_CONFIG["methodConfig"][0]["name"]:
        service = pool.FindServiceByName(name["service"])
        assert "method" not in name or name["method"] in service.methods_by_name


def test_the_service_config_keeps_the_form_that_grpc_reads() -> None:
    policy = SERVICE_CONFIG["methodConfig"][0]["retryPolicy"]
    for key in ("initialBackoff", "maxBackoff"):
        assert json_format.Parse(json.dumps(policy[key]), duration_pb2.Duration()).ToTimedelta().total_seconds() > 0
    assert policy["retryableStatusCodes"] == ["UNAVAILABLE", "CANCELLED"]
    assert 2 <= policy["maxAttempts"] <= 5  # gRPC makes no more than five


def test_an_option_given_takes_the_place_of_ours_and_leaves_the_others() -> None:
    options = channel_options([("grpc.enable_http_proxy", 1), ("grpc.primary_user_agent", "demo")])
    assert options.count(("grpc.enable_http_proxy", 1)) == 1
    assert ("grpc.enable_http_proxy", 0) not in options
    assert ("grpc.primary_user_agent", "demo") in options
    assert ("grpc.enable_retries", 1) in options


@pytest.mark.parametrize("name", podroute.__all__)
def test_what_is_exported_is_there(name: str) -> None:
    assert hasattr(podroute, name)
