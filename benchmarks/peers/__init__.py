"""What podroute is measured against, beside what `benchmarks` itself has: other clients, proxies, load generators."""
