"""Indexes of every kind are built, told of, replaced and dropped while reads and writes go on."""
