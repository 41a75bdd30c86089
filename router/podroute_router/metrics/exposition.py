"""The registry as the text that Prometheus reads, made in slices between which calls are served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

SLICE: Final = 100
"""Samples that are written in one go, in about half a millisecond."""

MIN_INTERVAL_S: Final = 1.0
"""Between two texts: whoever asks sooner gets the last one, so that nobody can keep the router writing."""


class Exposition:
    """The text of a registry, at most `MIN_INTERVAL_S` old."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._writing = asyncio.Lock()
        self._text = b""
        self._fresh_until = 0.0

    async def text(self) -> bytes:
        """All samples; those who ask at the same time share one."""
        async with self._writing:
            if time.monotonic() >= self._fresh_until:
                self._text = await written(self._registry)
                self._fresh_until = time.monotonic() + MIN_INTERVAL_S
            return self._text


async def written(registry: CollectorRegistry) -> bytes:
    """All samples in Prometheus' text format."""
    parts = []
    for family in registry.collect():
        for start in range(0, max(1, len(family.samples)), SLICE):
            part = Metric(family.name, family.documentation, family.type)
            part.samples = family.samples[start : start + SLICE]
            text = generate_latest(_Collected(part))
            parts.append(text.split(b"\n", 2)[2] if start else text)  # the heading, of two lines, only once
            await asyncio.sleep(0)
    return b"".join(parts)


class _Collected(Collector):
    """What was collected."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]
