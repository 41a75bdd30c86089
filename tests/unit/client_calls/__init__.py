"""Both clients against a gRPC server: what reaches it, what comes back, and when a call is made again."""
