"""Which of the known clusters this machine belongs to."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from longview.cluster.site import Site
from longview.cluster.spec import Detect


def detect_cluster(
    specs: Mapping[str, Detect],
    site: Site | None = None,
    *,
    prefer: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> str | None:
    """Name of the cluster; None if it cannot be told.

    File, environment, host name and SLURM's ClusterName are tried in this order, each over all clusters: the former are surer.

    Args:
        specs: Cluster -> how it is recognised.
        site: SLURM, if it may be asked.
        prefer: Taken where several fit (two files may describe two halves of one machine).
        environment: This process's variables.
    """
    hosts = host_names() if any(spec.hostname for spec in specs.values()) else ()
    called = site.config.get("ClusterName") if site else None
    signs: tuple[Callable[[Detect], bool], ...] = (
        lambda spec: bool(spec.file and spec.equals and _text(spec.file) == spec.equals),
        lambda spec: bool(spec.env) and all(environment.get(k) == v for k, v in spec.env.items()),
        lambda spec: any(re.search(spec.hostname or "$^", host) for host in hosts),
        lambda spec: called is not None and spec.slurm_cluster_name == called,
    )
    for sign in signs:
        if fitting := [name for name, spec in specs.items() if sign(spec)]:
            return prefer if prefer in fitting else fitting[0]
    return None


def host_names() -> tuple[str, ...]:
    """This machine's name, full and short; a name server that does not answer is not waited for."""
    try:
        done = subprocess.run(["hostname", "-f"], capture_output=True, text=True, timeout=1, check=False)
        full = done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        full = ""
    return tuple(dict.fromkeys(filter(None, (full, socket.gethostname()))))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
