"""Many collections: what is measured on, what is measured, and the tables of it."""
