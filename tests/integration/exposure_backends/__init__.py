"""Exposures as the backends make, follow, inspect and mend them, without a router."""
