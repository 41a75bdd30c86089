"""What programs written for vecs catch.

    VecsException
    ├── CollectionAlreadyExists
    ├── CollectionNotFound
    ├── ArgError
    │   └── MismatchedDimension
    ├── FilterError
    ├── IndexNotFound
    ├── Unreachable
    └── MissingDependency           also an ImportError

Where vecs let errors of SQLAlchemy or psycopg2 out, `podroute.Error` comes; see `podroute.errors`.
"""

from __future__ import annotations

__all__ = [  # noqa: RUF022 (as vecs has it)
    "VecsException",
    "CollectionAlreadyExists",
    "CollectionNotFound",
    "ArgError",
    "FilterError",
    "IndexNotFound",
    "Unreachable",
]


class VecsException(Exception):
    """The base of all of them."""


class CollectionAlreadyExists(VecsException):
    """A collection is to be made, and there is one."""


class CollectionNotFound(VecsException):
    """There is no such collection."""


class ArgError(VecsException):
    """An argument has no meaning."""


class MismatchedDimension(ArgError):
    """Collection, adapter and argument do not agree on the dimension."""


class FilterError(VecsException):
    """A filter has no meaning."""


class IndexNotFound(VecsException):
    """There is no such index. Nothing raises it; programs may catch it."""


class Unreachable(VecsException):
    """Something that cannot happen did. Nothing raises it; programs may catch it."""


class MissingDependency(VecsException, ImportError):
    """A feature needs a package that is not installed."""
