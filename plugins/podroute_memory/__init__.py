"""podroute_memory"""
