"""Messages of the contract with values that are odd, out of bounds, or nearly right: made by walking the descriptors,
so that a new field is tried as well.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

DIMENSION = 3
IDS = ["a", "b", "c", "é", "e\u0301", "😀", "'; drop table x; --", "\\", "%s", "$1", "\ufffd", "\u202e", " "]
IDS += ["{a,b}", "null"]
"""Ids of records: all of them can be."""
KEYS = ["a", "b", "ключ", "a.b", "q\"uo'te", "$", "$.a ? (@ > 1)", "back\\slash", "%s", "😀", "*", "@", " "]
KEYS += ["**", "a'--"]
"""Keys of metadata."""

_NAMES = ["", "x", "No!", "a" * 49, "a" * 48, "1a", "a\0", "ключ", "a;drop", 'a"b', "a.b", "pg_class", "_a", "a b"]
_TEXTS = ["", "a", "\0", "x" * 63, "x" * 64, "x" * 1025, *KEYS, "public", "vecs", "pg_catalog", 'a"b', "'", "ẞ" * 22]
_INTEGERS = [-(2**31), -1, 0, 1, 2, 3, 10, 40, 100, 101, 1000, 1001, 10_000, 16_001, 32_768, 32_769, 2**31 - 1]
_LONG_INTEGERS = [*_INTEGERS, 2**53 + 1, 2**63 - 1, -(2**63)]
_DOUBLES = [0.0, -0.0, 1.0, -1.5, 0.1, 1e300, -1e300, 5e-324, float("nan"), float("inf"), -float("inf"), 2.0**53 + 2]
_COMPONENTS = [0.0, -0.0, 1.0, -1.0, 2.5, 1e-3, 1e10, 1e-45, 1e-38, 3e38, -3e38, float("nan"), float("inf")]
_COMPONENTS += [-float("inf")]
_NUMBERS = ["0", "-0", "-0.0", "1", "1.0", "10e-1", "1e400", "1e-400", "1e16383", "1e131072", "1e-16384", "0.1", "1E+2"]
_NUMBERS += [str(2**63), "-" + "9" * 400, "01", "1.", ".5", "+1", "0x1", "NaN", "Infinity", "-Infinity", "1e999999999"]
_STRINGS = ['""', '"a"', r'"\u0000"', r'"\ud800"', r'"\ud83d\ude00"', r'"\udc00\ud800"', '"\u2028"', r'"\x"']
_STRINGS += ['"\t"', '"$"']
_STRINGS += [r'"\\"', "'a'", '"😀"', '"' + "x" * 2000 + '"', r'"\""', '"null"', '"e\u0301"', "\ufeff1"]


class OddMessages:
    """Makes messages.

    Args:
        random: what draws; hypothesis's own shrinks what it drew.
        collection: the name that most messages have.
    """

    def __init__(self, random: Random, collection: str) -> None:
        self._random = random
        self._collection = collection
        self._by_name: Mapping[str, Callable[[], Any]] = {
            "collection": self._collection_name,
            "name": self._collection_name,
            "pod": lambda: self._either(["alpha", ""], _NAMES),
            "metadata": self._metadata,
            "id": self._id,
            "ids": self._id,
            "path": lambda: self._either(KEYS[:3], [*KEYS, *_TEXTS]),
            "metadata_keys": lambda: self._either(KEYS, _TEXTS),
        }

    def make(self, descriptor: Descriptor, depth: int = 0) -> Message:
        """A message of the type."""
        message: Message = GetMessageClass(descriptor)()
        for field in self._chosen(descriptor):
            if field.message_type is not None and depth > 18:
                continue
            if field.is_repeated:
                self._extend(getattr(message, field.name), field, depth)
            elif field.message_type is not None:
                getattr(message, field.name).CopyFrom(self._nested(field, depth))
            else:
                setattr(message, field.name, self._value(field))
        return message

    def _chosen(self, descriptor: Descriptor) -> list[FieldDescriptor]:
        """The fields that are set: mostly those that are required, one of each oneof, and some of the others."""
        chosen = []
        for field in descriptor.fields:
            oneof = field.containing_oneof
            if oneof is not None and len(oneof.fields) > 1:
                continue
            likely = field.name in _LIKELY
            if self._random.random() < (0.97 if likely else 0.25):
                chosen.append(field)
        oneofs = [oneof for oneof in descriptor.oneofs if len(oneof.fields) > 1 and self._random.random() < 0.97]
        return [*chosen, *(self._random.choice(oneof.fields) for oneof in oneofs)]

    def _extend(self, values: Any, field: FieldDescriptor, depth: int) -> None:
        if field.name == "values" and field.type == FieldDescriptor.TYPE_FLOAT:
            values.extend(self._vector())
            return
        count = self._random.choice([0, 1, 1, 1, 1, 2, 2, 3, 3, 5]) if depth < 6 else self._random.choice([0, 1, 1])
        if self._random.random() < 0.01:
            count = self._random.choice([17, 65, 101, 257])
        for _ in range(count):
            if field.message_type is not None:
                values.append(self._nested(field, depth + (count > 5) * 15))
            else:
                values.append(self._value(field))

    def _nested(self, field: FieldDescriptor, depth: int) -> Message:
        return self.make(field.message_type, depth + 1)

    def _value(self, field: FieldDescriptor) -> Any:
        make = self._by_name.get(field.name)
        if make is not None and field.type == FieldDescriptor.TYPE_STRING:
            return make()
        random = self._random
        match field.type:
            case FieldDescriptor.TYPE_STRING:
                return random.choice(_TEXTS) if random.random() < 0.7 else self._text()
            case FieldDescriptor.TYPE_BOOL:
                return random.random() < 0.5
            case FieldDescriptor.TYPE_ENUM:
                known = [value.number for value in field.enum_type.values]
                return random.choice(known) if random.random() < 0.9 else random.choice([-1, 77, 2**31 - 1])
            case FieldDescriptor.TYPE_INT32:
                return random.choice([1, 2, 3, 10, 40]) if random.random() < 0.6 else random.choice(_INTEGERS)
            case FieldDescriptor.TYPE_INT64:
                return random.choice(_LONG_INTEGERS)
            case FieldDescriptor.TYPE_DOUBLE:
                return random.choice(_DOUBLES)
        raise TypeError(f"{field.full_name}: no values for a field of this type yet")

    def _vector(self) -> list[float]:
        random = self._random
        size = DIMENSION if random.random() < 0.95 else random.choice([0, 1, 2, 4, 100, 1536])
        if random.random() < 0.7:
            return [random.choice([0.0, 1.0, -1.0, 2.5, 0.5, -0.0]) for _ in range(size)]
        if random.random() < 0.3:
            return [struct.unpack("<f", random.randbytes(4))[0] for _ in range(size)]
        return [random.choice(_COMPONENTS) for _ in range(size)]

    def _collection_name(self) -> str:
        return self._collection if self._random.random() < 0.95 else self._random.choice([*_NAMES, "nothing_here"])

    def _id(self) -> str:
        return self._either(IDS, ["", "\0", "x" * 1024, "x" * 1025, "é" * 513, self._text()])

    def _text(self) -> str:
        random = self._random
        characters = [0x20 + random.randrange(0x5F), random.randrange(0x2000), 0x1F600 + random.randrange(80), 0xFFFF]
        return "".join(chr(random.choice(characters)) for _ in range(random.randint(0, 12)))

    def _either(self, good: list[str], odd: list[str]) -> str:
        return self._random.choice(good if self._random.random() < 0.92 else odd)

    def _metadata(self) -> str:
        random = self._random
        if random.random() < 0.5:
            return json.dumps({key: random.choice([0, 1, 2.5, "a", None, True, [1], {"a": 1}]) for key in self._keys()})
        if random.random() < 0.1:
            depth = random.choice([63, 64, 65, 1000])
            return '{"a": ' + "[" * depth + "]" * depth + "}"
        text = "{" + ", ".join(f"{json.dumps(key)}: {self._json(0)}" for key in self._keys()) + "}"
        return (
            text if random.random() < 0.9 else random.choice(["", "[]", "1", "{", text + "}", text[:-1], "null", "{a}"])
        )

    def _keys(self) -> list[str]:
        return [self._random.choice(KEYS) for _ in range(self._random.randint(0, 3))]

    def _json(self, depth: int) -> str:
        random = self._random
        if depth < 4 and random.random() < 0.3:
            inner = [self._json(depth + 1) for _ in range(random.randint(0, 3))]
            if random.random() < 0.5:
                return f"[{', '.join(inner)}]"
            return "{" + ", ".join(f"{json.dumps(random.choice(KEYS))}: {each}" for each in inner) + "}"
        return random.choice([*_NUMBERS, *_STRINGS, *["true", "false", "null", '"a"', "1", "2.50"] * 8])


_LIKELY = {
    "collection",
    "name",
    "records",
    "ids",
    "values",
    "vector",
    "queries",
    "id",
    "operator",
    "filters",
    "dimension",
}
_LIKELY |= {"metadata", "path", "view_schema", "view_name", "table_name", "pod"}
