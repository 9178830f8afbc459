"""From points to sbatch calls, and what they may cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from longview.config.experiment import Checker
from longview.launch.identity import point_of, sweep_id
from longview.launch.plan import DEFAULT_ARRAY, Run, chunks, cost

CONF = Path(__file__).resolve().parents[3] / "conf"


def runs(*overrides: str) -> list[Run]:
    sweep = Checker(CONF).sweep(["cluster=juwels", "launch.account=x", *overrides])
    identity = sweep_id(sweep)
    return [Run(point_of(sweep, e, identity), e) for e in sweep.points]


def test_one_array_for_points_that_ask_for_the_same() -> None:
    plan = chunks(runs("seed=range(1,51)"), array_limit=None)
    assert [len(c.runs) for c in plan] == [50]
    assert [r.experiment.config.seed for r in plan[0].runs] == list(range(1, 51))


@pytest.mark.parametrize(("limit", "sizes"), [(20, [20, 20, 10]), (50, [50]), (49, [49, 1])])
def test_arrays_end_where_the_site_ends(limit: int, sizes: list[int]) -> None:
    assert [len(c.runs) for c in chunks(runs("seed=range(1,51)"), array_limit=limit)] == sizes


def test_the_file_s_limit_counts_where_slurm_says_nothing() -> None:
    plan = chunks(runs("seed=range(1,11)", "cluster.limits.max_array_size=4"), array_limit=None)
    assert [len(c.runs) for c in plan] == [4, 4, 2]
    assert DEFAULT_ARRAY == 1001


def test_points_that_ask_for_other_resources_are_apart_and_in_order() -> None:
    plan = chunks(runs("resources.nodes=1,2", "seed=1,2,3"), array_limit=None)
    assert [(c.request.nodes, [r.experiment.config.seed for r in c.runs]) for c in plan] == [(1, [1, 2, 3]), (2, [1, 2, 3])]


def test_another_setting_of_the_cluster_is_another_script() -> None:
    plan = chunks(runs("cluster.env.NCCL_IB_TIMEOUT='20','22'"), array_limit=None)
    assert len(plan) == 2


def test_cost_at_most() -> None:
    total = cost(chunks(runs("resources.nodes=1,2", "seed=1,2", "resources.time=2h"), array_limit=None))
    assert (total.jobs, total.gpu_hours, total.core_hours) == (4, 2 * 4 * 2 + 2 * 8 * 2, 2 * 48 * 2 + 2 * 96 * 2)
    cpu = cost(chunks(runs("resources.purpose=cpu", "resources.time=2h"), array_limit=None))
    assert (cpu.gpu_hours, cpu.core_hours) == (0, 96)


def test_the_account_found_at_the_site_is_in_every_request() -> None:
    sweep = Checker(CONF).sweep(["cluster=bender", "seed=1,2", "resources.time=1h"])
    found = [Run(point_of(sweep, e, "x"), e) for e in sweep.points]
    assert {c.request.account for c in chunks(found, array_limit=None, account="only")} == {"only"}
