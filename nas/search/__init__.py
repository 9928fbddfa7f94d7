"""The multi-objective search: study (the record), samplers, engine (the loop), executors (where it runs)."""
