"""The DIRECT backend: the router's own connections to pods, where collections are pgvector tables."""
