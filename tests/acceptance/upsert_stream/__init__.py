"""A stream of upserts: answered after commit and in order, bounded in memory, and resumed without losing a record."""
