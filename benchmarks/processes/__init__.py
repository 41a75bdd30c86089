"""What `Child` runs: modules that are processes of their own. Imports nothing, as those of vecs lack podroute."""
