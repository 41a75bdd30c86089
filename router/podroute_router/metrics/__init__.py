"""What the router counts, times and shows to Prometheus; docs/metrics.md has the table.

Labels are bounded: methods and codes of the contract, access paths, and pods of the shard map. Nothing that a caller
sends becomes one.
"""
