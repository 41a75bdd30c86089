"""The part of a catalog that holds exposures, for catalogs of tests that have none."""

from __future__ import annotations

from podroute_router.domain import Deadline
from podroute_router.exposures import Exposure


class NoExposures:
    """Nothing is exposed, and nothing can be."""

    async def exposures(self, _deadline: Deadline) -> tuple[int, list[Exposure]]:
        return 0, []

    async def put_exposure(self, exposure: Exposure, deadline: Deadline) -> None:
        raise NotImplementedError

    async def remove_exposure(self, exposure: Exposure, deadline: Deadline) -> bool:
        raise NotImplementedError
