"""Sizes a test can afford: the generated kitchen, a few short videos, a network of a few thousand weights."""

from __future__ import annotations

DATA = ["data.train_videos=10", "data.val_videos=3", "data.test_videos=3", "data.mean_length=120", "data.stride=6"]
RUN = [
    "trainer.max_epochs=3",
    "loader.batch_size=4",
    "task.num_samples=3",
    "task.validation_samples=2",
    "task.figures=1",
    "trainer.log_every=1",
    "resources.cpus_per_device=1",
]
MODEL = {"width": 16, "blocks": 2, "sampling_steps": 3, "dropout": 0.1}
"""For the parameters a model has."""
MANTA = [f"model.{k}={v}" for k, v in MODEL.items()]
