"""Composing a point from one composed before gives what composing it anew gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from longview.config.compose import Composer
from longview.config.tree import ConfDir

CONF = Path(__file__).resolve().parents[3] / "conf"

POINTS = [
    ["seed=7"],
    ["trainer.max_epochs=null", "trainer.max_steps=5"],
    ["launch.sbatch={mail-type: END, x: {y: 1}}"],
    ["launch.sbatch={a: 1}", "launch.sbatch.b=2"],
    ["task.observations=[0.1,0.2]"],
    ["++new.block.value=3"],
    ["+launch.sbatch.deep.er=true"],
    ["model.width=${seed}"],
    ["run.name=${model.width}x"],
    ["seed=???"],
    ["~trainer.precision"],
    ["task.observations[0]=0.5"],
    ["loader={batch_size: 3}"],
    ["loader=3"],
    ["cluster.partitions.gpu.max_time='12:00:00'", "cluster.network={master_suffix: x}"],
    ["run.root='a b'", 'run.name="q\'q"'],
    ["trainer.gradient_clip=1e-3"],
]


@pytest.mark.parametrize("point", POINTS, ids=" ".join)
def test_quick_is_the_same(point: list[str]) -> None:
    used = Composer(ConfDir(CONF))
    used.compose(["cluster=juwels"])  # composed before
    quick = used.compose(["cluster=juwels", *point])
    slow = Composer(ConfDir(CONF)).compose(["cluster=juwels", *point])
    assert quick.tree == slow.tree
    assert quick.problems == slow.problems
    assert quick.choices == slow.choices


def test_points_do_not_change_one_another() -> None:
    composer = Composer(ConfDir(CONF))
    before = composer.compose(["cluster=juwels"]).tree
    composer.compose(["cluster=juwels", "launch.sbatch.a=1", "task.observations=[0.4]", "cluster.env.X=y"])
    assert composer.compose(["cluster=juwels"]).tree == before
