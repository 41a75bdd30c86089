"""The gRPC face: requests to values of the core, results and errors back. No decision is made here."""
