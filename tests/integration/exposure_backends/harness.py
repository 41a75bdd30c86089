"""What the tests of exposures in the backends share: values, and the revision followed."""

from __future__ import annotations

from podroute_router.domain import Collection, Deadline, Metric, Placement
from podroute_router.exposures import ColumnType, Exposed, ExposedColumn, Exposure

from integration.exposure_setup import Databases


def deadline() -> Deadline:
    return Deadline.after(20)


def exposed_of(name: str, pod: str = "alpha", *, code_point_order: bool = False) -> Exposed:
    placement = Placement(pod=pod, schema="vecs", table=name)
    return Exposed(
        exposure=Exposure(
            collection=name,
            schema="public",
            view=name,
            columns=(ExposedColumn(name="url", type=ColumnType.TEXT, path=("url",), indexed=True),),
            code_point_order=code_point_order,
        ),
        collection=Collection(name=name, dimension=2, metric=Metric.COSINE, placement=placement),
        is_foreign=True,
    )


def followed(sql_side: Databases) -> int:
    """The revision of the newest map that a router has worked by on the primary; some map has been."""
    sql_side.primary.execute('update podroute_fdw."followed:revision" set revision = greatest(revision, 1)')
    return int(sql_side.primary.execute('select revision from podroute_fdw."followed:revision"').fetchall()[0][0])
