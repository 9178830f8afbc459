"""longview: compose, check, launch, survive and read experiments on SLURM supercomputers."""

__version__ = "0.1.0"
