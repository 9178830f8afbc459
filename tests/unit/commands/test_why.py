"""`longview why`, as a user reads it; causes one by one are in tests/unit/runs/test_diagnose.py."""

from __future__ import annotations

import time
from pathlib import Path

from follow import Run, Slurm, iso, make_run, make_sweep, queued

END = {"ended": iso(time.time() - 60)}


def test_one_run(root: Path, slurm: Slurm, longview: Run) -> None:
    error = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    trace = 'Traceback (most recent call last):\n  File "/code/src/longview/models/m.py", line 7, in forward\n    y = x @ x\n'
    make_run(root / "r-56914f", {"outcome": "failed", "error": error, "traceback": trace, "host": "gpu3", **END})
    text = longview("why", "56914f")
    for part in ("56914f", "failed", "out of memory on the GPU", "on gpu3", error, "m.py:7 in forward: y = x @ x", "batch_size"):
        assert part in text


def test_a_sweep_by_cause(root: Path, slurm: Slurm, longview: Run) -> None:
    made = make_sweep(root, [{"seed": str(i)} for i in range(6)])
    errors = ["ZeroDivisionError: a", "ZeroDivisionError: b", "OSError: [Errno 28] No space left on device", "KeyError: 'x'"]
    for i, point in enumerate(made.points()):
        outcome = {"outcome": "failed", "error": errors[i], "traceback": "Traceback", **END} if i < 4 else {}
        make_run(made.run_path(point), *([{"job": f"19_{i}", **outcome}] if outcome else []))
    slurm.says("squeue", queued("19_4", "PENDING", "QOSMaxJobsPerUserLimit") + queued("19_5"))
    text = longview("why")
    assert "manta-abc123: 6 runs: 1 pending, 1 starting, 4 failed" in text
    heads = [line for line in text.splitlines() if line and not line.startswith(" ")][1:]
    assert heads[0] == "2 runs: an error in Python: ZeroDivisionError"
    assert set(heads[1:]) == {
        "1 run: an error in Python: KeyError",
        "1 run: disk full or quota used up",
        "1 run: it waits: the QoS's limit of jobs running at once is reached (QOSMaxJobsPerUserLimit)",
    }
    assert "aaaa0002  seed=2" in text


def test_nothing_is_wrong(root: Path, slurm: Slurm, longview: Run) -> None:
    made = make_sweep(root, [{"seed": "1"}, {"seed": "2"}])
    for i, point in enumerate(made.points()):
        make_run(made.run_path(point), {"outcome": "finished", "job": f"19_{i}", **END})
    assert "nothing is wrong" in longview("why")


def test_what_to_do_names_the_run_and_what_is_shown_is_where_it_says(root: Path, slurm: Slurm, longview: Run) -> None:
    made = make_sweep(root, [{"seed": str(i)} for i in range(10)])
    trace = 'Traceback (most recent call last):\n  File "/code/src/longview/models/m.py", line 7, in forward\n    y = x @ x\n'
    failed = {"outcome": "failed", "error": "ValueError: x", "traceback": trace, "job": "19_9", **END}
    for i, point in enumerate(made.points()):
        make_run(made.run_path(point), *([failed] if i == 9 else []))
    slurm.says("squeue", "".join(queued(f"19_{i}", "CANCELLED" if i else "TIMEOUT") for i in range(9)))
    assert "to do:    `longview resume aaaa0000` puts it back" in longview("why", "aaaa0000")
    lines = longview("why", "aaaa0009").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  at:"))
    advice = next(i for i, line in enumerate(lines) if "is the last one of your own code" in line)
    assert at < advice
    assert "the line above (at:)" in lines[advice]
    text = longview("why", "abc123")
    assert "to do: `longview resume aaaa0000` puts it back" in text
    assert "to do: `longview resume aaaa0001 aaaa0002" in text
    assert "<run" not in text
