"""podroute_fdw"""
