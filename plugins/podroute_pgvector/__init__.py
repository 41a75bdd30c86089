"""podroute_pgvector"""
