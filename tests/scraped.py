"""A router's metrics, read over HTTP as Prometheus reads them."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 20.0


def get(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of an answer of the admin port."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Scrape:
    """What /metrics said."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    @classmethod
    def of(cls, address: str) -> Scrape:
        """What it says now."""
        status, body = get(address, "/metrics")
        assert status == 200, body
        return cls(body)

    def __len__(self) -> int:
        """How many series there are."""
        return len(self._samples)

    def total(self, name: str, **labels: str) -> float:
        """The sum of the series of that name which have the labels; 0 where there are none."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def of_each(self, name: str, label: str) -> Mapping[str, float]:
        """The values of a metric's series by one of their labels."""
        return {sample.labels[label]: sample.value for sample in self._samples if sample.name == name}

    def values(self, label: str) -> set[str]:
        """All values of a label."""
        return {sample.labels[label] for sample in self._samples if label in sample.labels}
