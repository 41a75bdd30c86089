"""Where podroute.vecs does something else than vecs 0.4.5, on purpose: by program and step, what either prints.

docs/vecs-client.md tells users of them.
"""

from __future__ import annotations

_DATABASE_ERROR = "raised an error of the database"
_BASES = ["VecsException", "Exception", "BaseException"]
_OF_CREATE = (
    "warned DeprecationWarning: Call to deprecated method create_collection. (use Client.get_or_create_collection) "
    "at collections_program.py"
)
_OF_GET = (
    "warned DeprecationWarning: Call to deprecated method get_collection. (use Client.get_or_create_collection) "
    "at collection.py"
)
_EXISTS = f"raised CollectionAlreadyExists {_BASES}: Collection with requested name already exists"
_OF_AND = (
    "warned SADeprecationWarning: Invoking and_() without arguments is deprecated, and will be disallowed in a future "
    "release.   For an empty and_() construct, use 'and_(true(), *args)' or 'and_(True, *args)'. at collection.py"
)
_OF_OR = (
    "warned SADeprecationWarning: Invoking or_() without arguments is deprecated, and will be disallowed in a future "
    "release.   For an empty or_() construct, use 'or_(false(), *args)' or 'or_(False, *args)'. at collection.py"
)


def _filter_error(message: str) -> str:
    return f"raised FilterError {_BASES}: {message}"


def _no_name(name: str) -> str:
    return (
        f"raised ArgError {_BASES}: no collection can be called {name!r}: "
        "podroute takes 1 to 48 of [a-z0-9_], starting with a letter"
    )


_NO_OPERATOR = _filter_error('a key needs an operator, as in {"year": {"$eq": …}}')
_EMPTY_AND = _filter_error("$and needs at least one condition; it does not mean all records")
_EMPTY_OR = _filter_error("$or needs at least one condition; it does not mean all records")

DIFFERENCES: dict[str, dict[str, tuple[str, str]]] = {
    "adapters_program": {
        # Another package is to be installed.
        "text embedding": (
            "raised MissingDependency ['VecsException', 'ImportError', 'Exception', 'BaseException']: "
            "Missing feature vecs[text_embedding]. Hint: `pip install 'vecs[text_embedding]'`",
            "raised MissingDependency ['VecsException', 'ImportError', 'Exception', 'BaseException']: "
            "TextEmbedding needs sentence-transformers. Hint: `pip install sentence-transformers`",
        ),
    },
    "collections_program": {
        # vecs calls a method that it deprecates itself.
        "create": (
            f"{_OF_CREATE}\n{_OF_GET}\n'vecs.Collection(name=\"more\", dimension=5)'",
            f"{_OF_CREATE}\n'vecs.Collection(name=\"more\", dimension=5)'",
        ),
        "create again": (f"{_OF_CREATE}\n{_OF_GET}\n{_EXISTS}", f"{_OF_CREATE}\n{_EXISTS}"),
        "create again, other dimension": (f"{_OF_CREATE}\n{_OF_GET}\n{_EXISTS}", f"{_OF_CREATE}\n{_EXISTS}"),
        # There is an exception for it.
        "deleted while held": (
            _DATABASE_ERROR,
            f"raised CollectionNotFound {_BASES}: No collection found with requested name",
        ),
    },
    "mended_program": {
        # Filters that silently match nothing.
        "a bare value finds": ("[]", _NO_OPERATOR),
        "a bare value deletes": ("[]", _NO_OPERATOR),
        "a list for a value finds": ("[]", _NO_OPERATOR),
        "no operator finds": ("[]", _filter_error("a key needs an operator")),
        "$not finds": ("[]", _filter_error("unknown operator")),
        "an empty filter within finds": (
            "[]",
            _filter_error("a filter needs one entry; it does not mean all records"),
        ),
        # Of an id that stands twice in an upsert, the last record is written.
        "an id twice": (_DATABASE_ERROR, "None"),
        "an id twice, stored": ("[]", "[('twice', 'ndarray of float32: [2.0, 2.0]', {'n': 2})]"),
        "an id twice, deleted": ("[]", "['twice']"),
        # fetch keeps the order of the ids, and returns a record once.
        "fetch, in which order": ("['r0', 'r3', 'r4']", "['r4', 'r0', 'r3']"),
        "fetch twice the same": ("2", "1"),
        # A query for no vector finds whatever comes first.
        "query for None": ("5", _DATABASE_ERROR),
        "write a vector beyond float32": (
            f"warned RuntimeWarning: overflow encountered in cast at vector.py\n{_DATABASE_ERROR}",
            _DATABASE_ERROR,
        ),
        # What is less or more is of the operand's type; texts are ordered by code point, not by the database's locale.
        "less than a number": ("[\"'Beta'\", \"'beta'\", '1', 'None', '[]']", "['1']"),
        "more than a number": ("['1', 'True', '[1]', \"{'a': 1}\"]", "['1']"),
        "less than a text": ("['None', '[]']", "[\"'Beta'\"]"),
        "more than a boolean": ("['True', '[1]', \"{'a': 1}\"]", "['True']"),
        "more than None": (
            "[\"'Beta'\", \"'beta'\", '1', 'True', '[1]', \"{'a': 1}\"]",
            _filter_error("argument to $gt filter must not be None, which has no order"),
        ),
        # Lists and dicts are not compared: the one thing that vecs can and podroute cannot.
        **{
            f"{words} {of}": (
                of_vecs,
                _filter_error(
                    f"argument to {operator} filter must be a scalar: podroute compares no lists and no dicts"
                ),
            )
            for words, operator, of, of_vecs in (
                ("equal to", "$eq", "a list", "['[1]']"),
                (
                    "not equal to",
                    "$ne",
                    "a list",
                    "[\"'Beta'\", \"'beta'\", '1', 'None', 'True', '[]', \"{'a': 1}\"]",
                ),
                ("equal to", "$eq", "a dict", "[\"{'a': 1}\"]"),
                ("less than", "$lt", "a dict", "[\"'Beta'\", \"'beta'\", '1', 'None', 'True', '[1]', '[]']"),
            )
        },
        # An empty list of conditions matches everything, and deletes it.
        "an empty $and finds": (f"{_OF_AND}\n10", _EMPTY_AND),
        "an empty $or finds": (f"{_OF_OR}\n10", _EMPTY_OR),
        "an empty $or deletes": (f"{_OF_OR}\n13", _EMPTY_OR),
        "left by an empty $or": ("0", "13"),
        "an empty $and deletes": (f"{_OF_AND}\n5", _EMPTY_AND),
        "left by an empty $and": ("0", "13"),
    },
    "names_program": {
        # New collections have names that podroute takes; adopted tables may be called anything.
        **{
            f"make {name!r}": (f"'vecs.Collection(name=\"{name}\", dimension=2)'", _no_name(name))
            for name in ("a" * 49, "My-Docs", "9lives", "été", "two words")
        },
        "make ''": ("raised IndexError: string index out of range", _no_name("")),
        "delete ''": ("raised IndexError: string index out of range", "None"),
    },
}
