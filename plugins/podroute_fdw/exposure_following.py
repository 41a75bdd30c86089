"""Keeps the primary's views as the catalog has the exposures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import psycopg
from podroute_router.config import Config, Database
from podroute_router.exposures import Exposed, Exposure
from podroute_router.postgres.connection import Connection

from podroute_fdw import exposing


class ExposureFollowing:
    """What was brought to the primary, and what is left to do."""

    def __init__(self, config: Config, primary: Database) -> None:
        self._config = config
        self._primary = primary
        self._exposed: dict[tuple[str, str], Exposed] | None = None
        """By name, as they were brought to the primary."""
        self._left: dict[tuple[str, str], Exposure] = {}
        """Those that are to be made, changed or dropped still."""

    def is_done(self, exposures: Iterable[Exposed]) -> bool:
        """True where all of that was done before."""
        return not self._left and _by_name(exposures) == self._exposed

    async def follow(
        self, connection: Connection, exposures: Sequence[Exposed], revision: int
    ) -> Mapping[tuple[str, str], psycopg.Error]:
        """Makes, changes and drops views; what is left for a newer map, or is held up, is done with the next call.

        Args:
            connection: to the primary.
            exposures: all that there are.
            revision: of the shard map that they belong to.

        Returns:
            The names of those that are held up, with what the database said.
        """
        wanted = _by_name(exposures)
        if self._exposed is None:
            before = {each.name: each for each in await exposing.standing(connection)}
            made = await exposing.as_wanted(connection, self._config, self._primary, exposures)
            changed = [each for name, each in wanted.items() if name not in made]
        else:
            before = self._left | {name: each.exposure for name, each in self._exposed.items()}
            changed = [each for name, each in wanted.items() if self._exposed.get(name) != each]
        gone = {name: exposure for name, exposure in before.items() if name not in wanted}
        passed_over, held_up = await exposing.follow(
            connection, self._config, self._primary, changed=changed, gone=gone.values(), revision=revision
        )
        left = passed_over | held_up.keys()
        self._exposed = {name: each for name, each in wanted.items() if name not in left}
        self._left = {each.exposure.name: each.exposure for each in changed if each.exposure.name in left}
        self._left |= {name: exposure for name, exposure in gone.items() if name in left}
        return held_up


def _by_name(exposures: Iterable[Exposed]) -> dict[tuple[str, str], Exposed]:
    return {each.exposure.name: each for each in exposures}
