"""The catalog: the shard map as PostgreSQL stores it, and as a router follows it."""
