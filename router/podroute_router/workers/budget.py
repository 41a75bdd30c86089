"""Splits a configuration among workers, so that together they keep within its bounds."""

from __future__ import annotations

from podroute_router.config import Config, ConfigError


def shares(config: Config) -> list[Config]:
    """The configuration of each of `router.workers` workers.

    What is bounded per pod is split as evenly as it goes; the sum is the configured bound.

    Raises:
        ConfigError: a worker would be left without a connection, or without a call.
    """
    workers = config.router.workers
    split = ["connections_per_pod", "calls_per_pod"]
    if config.primary is not None:
        split.append("fdw_connections_per_pod")
    short = [f"limits.{key} is {bound}" for key in split if (bound := getattr(config.limits, key)) < workers]
    if short:
        raise ConfigError(f"router.workers: {workers} workers share the limits, and {' and '.join(short)}")
    return [
        config.model_copy(
            update={
                "limits": config.limits.model_copy(
                    update={key: _share(getattr(config.limits, key), workers, number) for key in split}
                )
            }
        )
        for number in range(workers)
    ]


def _share(bound: int, workers: int, number: int) -> int:
    return bound // workers + (number < bound % workers)
