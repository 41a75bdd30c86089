"""Benchmarks: what the router costs, always as ratios to peers measured in the same run. docs/performance.md."""
