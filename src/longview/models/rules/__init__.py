"""Torch-free checks of one model each: ``problems(experiment)`` in the module named like the model's own."""
