"""The one place where podroute's errors become those of vecs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from podroute import errors
from podroute.vecs import exc


@contextmanager
def translated() -> Iterator[None]:
    """Raises what vecs has an exception for as that; any other error of podroute's goes through."""
    try:
        yield
    except errors.InvalidArgument as error:
        if isinstance(error, errors.FilterError) or error.reason.startswith("FILTER_"):
            raise exc.FilterError(error.message) from error
        raise
    except errors.NotFound as error:
        if error.reason == "COLLECTION_NOT_FOUND":
            raise exc.CollectionNotFound("No collection found with requested name") from error
        raise
