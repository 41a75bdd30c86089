"""The registry as the text that Prometheus reads, made in slices between which calls are served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

SLICE: Final = 50
"""Samples that are collected and written in one go, in half a millisecond."""

MIN_INTERVAL_S: Final = 0.25
"""Between two texts: whoever asks sooner gets the last one, so that nobody can keep the router writing."""

Write = Callable[[], Awaitable[bytes]]


class Exposition:
    """A text, at most `MIN_INTERVAL_S` old.

    Args:
        write: writes it.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._writing = asyncio.Lock()
        self._text = b""
        self._fresh_until = 0.0

    async def text(self) -> bytes:
        """All samples; those who ask at the same time share one."""
        async with self._writing:
            if time.monotonic() >= self._fresh_until:
                self._text = await self._write()
                self._fresh_until = time.monotonic() + MIN_INTERVAL_S
            return self._text


async def written(registry: CollectorRegistry) -> bytes:
    """All samples in Prometheus' text format."""
    parts = []
    name = ""
    for part in _collected(registry):
        text = generate_latest(_Part(part))
        parts.append(text.split(b"\n", 2)[2] if part.name == name else text)  # the heading, of two lines, only once
        name = part.name
        await asyncio.sleep(0)
    return b"".join(parts)


def _collected(registry: CollectorRegistry) -> Iterator[Metric]:
    """What `registry.collect` gives, in parts: that would collect thousands of samples of a metric in one go."""
    for collector in list(registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            family = collector._get_metric()  # type: ignore[no-untyped-call]
            named = (sample._replace(name=family.name + sample.name) for sample in collector._samples())
            yield from _parts(family, named)
        else:
            for family in collector.collect():
                yield from _parts(family, family.samples)


def _parts(family: Metric, samples: Iterable[Sample]) -> Iterator[Metric]:
    """The family with some of its samples each time; once where it has none."""
    left = iter(samples)
    some = list(islice(left, SLICE))
    while True:
        part = Metric(family.name, family.documentation, family.type)
        part.samples = some
        yield part
        if not (some := list(islice(left, SLICE))):
            return


class _Part(Collector):
    """What was collected."""

    def __init__(self, part: Metric) -> None:
        self._part = part

    def collect(self) -> Iterable[Metric]:
        return [self._part]
