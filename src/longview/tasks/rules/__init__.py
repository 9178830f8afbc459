"""Torch-free checks of one task each: ``problems(experiment)`` in the module named like the task's own."""
