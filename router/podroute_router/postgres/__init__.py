"""PostgreSQL as every part of podroute uses it: connections, pools, errors, and the data plane in SQL."""
