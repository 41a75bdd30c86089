"""Requests become values of the core, or are refused with the field at fault; results become responses."""
