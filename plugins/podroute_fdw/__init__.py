"""The FDW backend: collections through the primary database and postgres_fdw."""
