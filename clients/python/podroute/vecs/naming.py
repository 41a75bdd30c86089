"""How the names that programs use find collections.

A name means the collection of that name. Where there is none, it means the collection whose table is called so: one
that was adopted under another name, as tables may be called what collections may not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import podroute
from podroute.vecs.exc import ArgError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


def check_new_name(name: str) -> None:
    """Raises ArgError where no collection can be made under the name."""
    if not _may_be_name(name):
        raise ArgError(
            f"no collection can be called {name!r}: podroute takes 1 to 48 of [a-z0-9_], starting with a letter"
        )


def find(client: podroute.Client, name: str) -> podroute.Collection | None:
    """The collection that the name means; raises ArgError where it means several."""
    if _may_be_name(name):
        try:
            return client.get_collection(name)
        except podroute.NotFound:
            pass
    found = [each for each in client.list_collections() if each.placement.table_name == name]
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise ArgError(f"the tables of several collections are called {name!r}; name one of {names}")
    return found[0] if found else None


def named(collections: Iterable[podroute.Collection]) -> Iterator[tuple[str, podroute.Collection]]:
    """Each collection with the name that vecs would show: that of its table, as far as it finds the collection."""
    all_of_them = list(collections)
    taken = {each.name for each in all_of_them}
    tables = Counter(each.placement.table_name for each in all_of_them)
    for each in all_of_them:
        table = each.placement.table_name
        yield (table if tables[table] == 1 and table not in taken else each.name), each


def _may_be_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None
