"""The primary's foreign objects follow the shard map; what agrees is left alone, what drifted is mended."""
