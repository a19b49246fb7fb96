"""A seeded simulation of compacting and reading, one store call at a time: see `tests.faults.simulation.world`."""
