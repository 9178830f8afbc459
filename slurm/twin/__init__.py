"""A rehearsal of a cluster: a real SLURM on one machine, made from the cluster's own YAML file."""

from .machine import TwinError
from .twin import Twin, start

__all__ = ["Twin", "TwinError", "start"]
