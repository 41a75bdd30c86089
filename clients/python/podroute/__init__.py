"""The podroute client."""
