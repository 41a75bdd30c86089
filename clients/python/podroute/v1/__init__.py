"""Generated from proto/podroute/v1 by `make proto`."""
