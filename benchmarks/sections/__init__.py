"""The parts of the benchmarks, a module each. `benchmarks.section` says what such a module has."""
