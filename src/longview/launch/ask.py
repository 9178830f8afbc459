"""What SLURM says before anything is written: the account, the limits, and whether it would take the scripts."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from longview.cluster.live import array_limit, live_problems, only_account
from longview.cluster.request import Request, account_of, request_of
from longview.cluster.site import Site
from longview.cluster.spec import Detect
from longview.cluster.waiting import only_waits
from longview.config.experiment import CheckedExperiment, Checker
from longview.errors import ConfigError, LongviewError, Problem


@dataclass
class Answers:
    """SLURM's answers for one command.

    Attributes:
        array_limit: Most elements of one array; None: not known.
        account: The only account there is, where none was named.
        checks: What was looked at, for the dry run.
        warnings: What SLURM would take, but should be known.
    """

    site: Site
    array_limit: int | None = None
    account: str | None = None
    checks: list[str] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def judge(
        self, experiments: Sequence[tuple[str, CheckedExperiment]], scripts: Sequence[tuple[str, Request]], *, dry: bool
    ) -> None:
        """Ask about every point and every script with its request.

        Raises:
            ConfigError: With everything SLURM would refuse.
            LongviewError: There is no SLURM to submit to.
        """
        if not experiments:
            return
        if not self.site.reachable():
            self._absent(experiments[0][1].config.cluster.name, dry=dry)
            return
        requests: list[Request] = [request_of(e.config, account=self.account) for _, e in experiments]
        found = live_problems([(name, e.config) for name, e in experiments], self.site, requests, _specs())
        self.warnings += [p for p in found if p.warning]
        refused = [p for p in found if not p.warning]
        if not refused:  # else it would say the same in other words
            for script, request in dict.fromkeys(scripts):
                taken, words = self.site.test_only(script)
                if taken is not False:  # None: SLURM did not answer this time
                    continue
                if only_waits(words, self.site, request):
                    text = f"nodes are down, drained or reserved now, so the job will wait (SLURM: {words})"
                    self.warnings.append(Problem("sbatch --test-only", text, warning=True))
                else:
                    refused.append(Problem("sbatch --test-only", f"SLURM would refuse the job: {words}"))
        if refused:
            raise ConfigError(refused)
        self.checks += ["SLURM's partitions, limits, QoS and accounts", "room in the queue", "sbatch --test-only"]

    def _absent(self, cluster: str, *, dry: bool) -> None:
        there = shutil.which("sbatch")
        why = "SLURM does not answer" if there else "there is no SLURM here (no sbatch)"
        if not dry:
            tail = "try again" if there else f"submit from a login node of {cluster}, or rehearse: make twin CLUSTER={cluster}"
            raise LongviewError(f"{why}; {tail}. launch.dry_run=true shows what would be submitted")
        self.checks.append(f"not asked: partitions, limits and accounts of the site, since {why}")


PAUSES = (1, 2, 4, 8, 15, 30)
"""Seconds between questions to a controller that does not answer: a restart of slurmctld takes seconds."""


def ask(experiments: Sequence[CheckedExperiment], *, patient: bool = True) -> Answers:
    """Ask what the plan depends on, once for all points; ``patient``: wait a minute for a controller that is away."""
    site, config = Site(), experiments[0].config
    for pause in PAUSES if patient and shutil.which("sbatch") else ():
        if site.reachable():
            break
        print(f"SLURM does not answer; asking again in {pause} s", file=sys.stderr, flush=True)
        time.sleep(pause)
        site = Site()
    answers = Answers(site, checks=["configuration and data", f"resources against the facts of cluster {config.cluster.name}"])
    if site.reachable():
        answers.array_limit = array_limit(config.cluster, site)
        if account_of(config) is None and config.cluster.account.required:
            answers.account = only_account(site)
    return answers


def _specs() -> dict[str, Detect]:
    """How every cluster of conf/ is recognised."""
    checker, found = Checker(), {}
    for name in checker.conf.options("cluster"):
        block = checker.composer.block("cluster", name)
        if isinstance(block, dict) and block.get("scheduler") == "slurm":
            found[str(block.get("name", name))] = Detect.model_validate(block.get("detect") or {})
    return found
