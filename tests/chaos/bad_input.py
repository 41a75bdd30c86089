"""Requests that may be anything, sent to a router over both paths, and what is wrong with the answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import grpc
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from podroute.v1 import collection_service_pb2, route_pb2, shard_map_service_pb2, vector_service_pb2

from .mutations import mutated
from .odd_messages import OddMessages

TIMEOUT_S = 30.0
PATHS = (route_pb2.ACCESS_PATH_DIRECT, route_pb2.ACCESS_PATH_FDW)
METHODS: tuple[MethodDescriptor, ...] = tuple(
    method
    for file in (vector_service_pb2, collection_service_pb2, shard_map_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
"""Every method of every service."""

WRITES = frozenset({"Upsert", "UpsertStream", "Delete", "UpdateMetadata"})
"""Methods that change records."""
DATA_PLANE = frozenset(method.name for method in METHODS if method.containing_service.name == "VectorService")
_READS = [method for method in METHODS if method.name in DATA_PLANE - WRITES or method.name == "Explain"]
_CHANGES = [method for method in METHODS if method.name in WRITES]
_CONTROL = [method for method in METHODS if method not in (*_READS, *_CHANGES)]
METHODS_OF = {"read": _READS, "write": _CHANGES, "control": _CONTROL}
"""Methods by what they touch: records that stay as they are, records that change, and the rest."""

LEAKS = re.compile(
    r"""(?i:\bselect\b.+\bfrom\b | insert\s+into | delete\s+from | on\s+conflict | \bupdate\b.+\bset\b)
    | DETAIL | HINT: | CONTEXT: | LINE\ \d | \bERROR: | syntax\ error | relation\ " | foreign\ table\ "
    | Traceback | \bFile\ " | \.py\b | (?i:psycopg | postgres(?!ql) | libpq | SCRAM)
    | (host|hostaddr|port|dbname|user|password)= | 127\.0\.0\.1
    | podroute_(fdw|catalog|exposed|owner|reader|router) | pg_(attribute|namespace|proc|stat|foreign)
    | ::(text|jsonb|vector) | jsonb_path""",
    re.VERBOSE,
)
"""What no error may hold: SQL, addresses, words of PostgreSQL or psycopg, names of podroute's own objects."""
_FOR_ADMINISTRATORS = ("SCHEMA_RIGHTS", "NOT_ADOPTABLE", "TABLE_NOT_OWNED")
"""These tell the statement that an administrator has to run, as docs/errors.md says."""
_FAULTS = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
_TROUBLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
"""No answer to bad input, as nothing is wrong with the databases; a call that changes collections may meet others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request in its variants: one for each path, or a single one where the method knows no paths."""

    method: MethodDescriptor
    payloads: Sequence[bytes]

    def __str__(self) -> str:
        message = _parsed(self.method.input_type, self.payloads[0])
        shown = "(undecodable)" if message is None else text_format.MessageToString(message)
        return f"{self.method.full_name} {self.payloads[0].hex()}\n{shown}"


class Answer(NamedTuple):
    """How one variant ended: the error's reason and all that it says, or the responses."""

    code: grpc.StatusCode
    reason: str
    told: str
    responses: Sequence[Message]


class Cases:
    """Draws cases.

    Args:
        random: what draws.
        collections: the name that requests have on each of the paths, of equal length.
    """

    def __init__(self, random: Random, collections: Sequence[str]) -> None:
        self._random = random
        self._names = [name.encode() for name in collections]
        self._odd = OddMessages(random, collections[0])

    def draw(self, methods: Sequence[MethodDescriptor], *, raw: bool) -> Case:
        """A case.

        raw: its bytes were changed after the message was made.
        """
        method = self._random.choice(methods)
        message = self._odd.make(method.input_type)
        if not _has_path(method.input_type):
            payload = message.SerializeToString()
            return Case(method=method, payloads=[mutated(payload, self._random) if raw else payload])
        seed = self._random.getrandbits(64)
        payloads = []
        for path, name in zip(PATHS, self._names, strict=True):
            _set_path(message, path)
            payload = message.SerializeToString(deterministic=True)
            if raw:
                payload = mutated(payload, Random(seed))
                if "path" in method.input_type.fields_by_name:  # the last one counts
                    number = method.input_type.fields_by_name["path"].number
                    payload += bytes([number << 3, path])
            payloads.append(payload.replace(self._names[0], name))
        return Case(method=method, payloads=payloads)


class Caller:
    """Sends bytes to a router.

    Args:
        channels: take turns.
    """

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._channels = channels
        self._turn = 0

    async def answers(self, case: Case) -> list[Answer]:
        """One for each variant."""
        return list(await asyncio.gather(*(self._answer(case.method, payload) for payload in case.payloads)))

    async def _answer(self, method: MethodDescriptor, payload: bytes) -> Answer:
        self._turn += 1
        channel = self._channels[self._turn % len(self._channels)]
        name = f"/{method.containing_service.full_name}/{method.name}"
        responses: list[Message] = []
        parse = GetMessageClass(method.output_type).FromString
        try:
            if method.client_streaming:
                calls: AsyncIterator[bytes] = channel.stream_stream(name)(iter([payload]), timeout=TIMEOUT_S)
                responses += [parse(each) async for each in calls]
            elif method.server_streaming:
                calls = channel.unary_stream(name)(payload, timeout=TIMEOUT_S)
                responses += [parse(each) async for each in calls]
            else:
                responses.append(parse(await channel.unary_unary(name)(payload, timeout=TIMEOUT_S)))
        except grpc.aio.AioRpcError as error:
            return _refused(error, responses)
        return Answer(grpc.StatusCode.OK, "", "", responses)


def complaints(case: Case, answers: Sequence[Answer]) -> list[str]:
    """What is wrong with the answers; nothing where they are as they should be."""
    found = [
        complaint
        for payload, answer in zip(case.payloads, answers, strict=True)
        for complaint in _of_one(case.method, payload, answer)
    ]
    if len(answers) == len(PATHS) and are_alike(case):
        direct, fdw = answers
        if direct[:2] != fdw[:2]:
            found.append(f"DIRECT says {direct[:3]}, FDW {fdw[:3]}")
        elif case.method.name != "Explain" and _plain(direct) != _plain(fdw):
            found.append(f"DIRECT answers {direct.responses}, FDW {fdw.responses}")
    return found


async def smallest(case: Case, caller: Caller) -> Case:
    """The case with as few bytes as still bring complaints, as far as some hundred attempts find them."""
    step = max(map(len, case.payloads)) // 2
    while step:
        start = 0
        while start < min(map(len, case.payloads)):
            shorter = Case(method=case.method, payloads=[each[:start] + each[start + step :] for each in case.payloads])
            if complaints(shorter, await caller.answers(shorter)):
                case = shorter
            else:
                start += step
        step //= 2
    return case


def collections(case: Case) -> list[str]:
    """The name of the collection that each variant names; empty where it names none or is no message."""
    parsed = [_parsed(case.method.input_type, payload) for payload in case.payloads]
    return [getattr(message, "collection", "") for message in parsed]


def _of_one(method: MethodDescriptor, payload: bytes, answer: Answer) -> list[str]:
    errors = [answer] if answer.code is not grpc.StatusCode.OK else _errors_inside(answer)
    found = []
    for error in errors:
        if error.code in _FAULTS or (method.name in DATA_PLANE and error.code in _TROUBLE):
            found.append(f"{error.code} {error.reason}: {error.told}")
        if not error.reason:
            found.append(f"no ErrorInfo of podroute's: {error.code}: {error.told}")
        if error.reason not in _FOR_ADMINISTRATORS and (leak := LEAKS.search(error.told)):
            found.append(f"{leak[0]!r} in {error.code} {error.reason}: {error.told}")
    if (_parsed(method.input_type, payload) is None) != (answer.reason == "UNDECODABLE"):
        found.append(f"the bytes are a message, or not, and the answer is {answer[:2]}")
    return found


def _refused(error: grpc.aio.AioRpcError, responses: list[Message]) -> Answer:
    details = next((value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"), b"")
    status = status_pb2.Status.FromString(details if isinstance(details, bytes) else b"")
    return _answer_of(error.code(), f"{error.details()} ", status, responses)


def _answer_of(code: grpc.StatusCode, told: str, status: Any, responses: list[Message]) -> Answer:
    reason = ""
    for detail in status.details:
        info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason if info.domain == "podroute" and not reason else ""
            told += " ".join(f"{key}:{value}" for key, value in info.metadata.items())
        elif detail.Unpack(fields):
            told += " ".join(f"{each.field}:{each.description}" for each in fields.field_violations)
    return Answer(code, reason, told, responses)


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _errors_inside(answer: Answer) -> list[Answer]:
    """Those of a batch's queries."""
    return [
        _answer_of(_CODES[result.error.code], result.error.message, result.error, [])
        for response in answer.responses
        if isinstance(response, vector_service_pb2.BatchQueryResponse)
        for result in response.results
        if result.HasField("error")
    ]


def _plain(answer: Answer) -> list[bytes]:
    """The responses without what differs by nature: the route, and how many of the records were there before."""
    plain = []
    for response in answer.responses:
        copy = type(response)()
        copy.CopyFrom(response)
        _clear_routes(copy)
        plain.append(copy.SerializeToString(deterministic=True))
    return plain


def _clear_routes(message: Message) -> None:
    message.ClearField("route") if "route" in message.DESCRIPTOR.fields_by_name else None
    message.ClearField("resume_token") if "resume_token" in message.DESCRIPTOR.fields_by_name else None
    if isinstance(message, vector_service_pb2.BatchQueryResponse):
        for result in message.results:
            _clear_routes(result.response) if result.HasField("response") else result.error.ClearField("details")


def _parsed(descriptor: Descriptor, payload: bytes) -> Any:
    """The message; None where the bytes are none."""
    try:
        return GetMessageClass(descriptor).FromString(payload)
    except DecodeError:
        return None


def _has_path(descriptor: Descriptor) -> bool:
    return any(
        (field.name == "path" and field.enum_type is not None)
        or (field.message_type is not None and descriptor.name in _WITH_QUERIES and _has_path(field.message_type))
        for field in descriptor.fields
    )


_WITH_QUERIES = ("BatchQueryRequest", "ExplainRequest")


def _set_path(message: Any, path: int) -> None:
    match message.DESCRIPTOR.name:
        case "BatchQueryRequest":
            for query in message.queries:
                query.path = path
        case "ExplainRequest":
            if message.WhichOneof("request"):
                getattr(message, message.WhichOneof("request")).path = path
        case _:
            message.path = path


def are_alike(case: Case) -> bool:
    """True where the variants ask for the same but by another path: a mutation may have hit or swallowed the path."""
    parsed = [_parsed(case.method.input_type, payload) for payload in case.payloads]
    if None in parsed:
        return parsed == [None, None]
    for message, path in zip(parsed, PATHS, strict=True):
        before = message.SerializeToString(deterministic=True)
        _set_path(message, path)
        if message.SerializeToString(deterministic=True) != before:
            return False
    first, second = parsed
    _set_path(first, PATHS[1])
    if "collection" in case.method.input_type.fields_by_name:
        first.collection = second.collection
    return bool(first.SerializeToString(deterministic=True) == before)
