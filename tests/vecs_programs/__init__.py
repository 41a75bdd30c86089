"""Programs written for vecs, and how what they print is compared; see `tests/acceptance/test_vecs_programs.py`."""
