"""Search parameters as settings of pgvector, which a transaction applies to its pod.

`postgres/prepare.py` has the names that a pod's control view allows; each one here is among them.
"""

from __future__ import annotations

from podroute_router.domain import IterativeScan, SearchParams


def scan_settings(params: SearchParams) -> dict[str, str]:
    """What differs from the settings that sessions have (`postgres/access.py`); empty where nothing does."""
    if params.exact:
        return {}
    settings = {}
    if params.ef_search is not None:
        settings["hnsw.ef_search"] = str(params.ef_search)
    if params.probes is not None:
        settings["ivfflat.probes"] = str(params.probes)
    if params.max_scan_tuples is not None:
        settings["hnsw.max_scan_tuples"] = str(params.max_scan_tuples)
    if params.iterative_scan is IterativeScan.OFF:
        settings["hnsw.iterative_scan"] = settings["ivfflat.iterative_scan"] = "off"
    elif params.iterative_scan is IterativeScan.STRICT:
        settings["hnsw.iterative_scan"] = "strict_order"  # IVFFlat has no such scan
    return settings
