"""The gRPC face on a real channel, over the in-memory backend: what comes in, what goes out, and how errors travel."""
