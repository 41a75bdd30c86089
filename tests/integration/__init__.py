"""The parts together, on real PostgreSQL."""
