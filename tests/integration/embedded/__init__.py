"""Embedded servers: they start and stop, keep or forget their data, and leave nothing behind."""
