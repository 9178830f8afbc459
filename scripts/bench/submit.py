"""From Enter to prompt: a sweep into the queue of a real SLURM, beside hydra-submitit-launcher and bare sbatch.

    python scripts/bench/submit.py                 # 1,000 points, the stock launcher with 200
    python scripts/bench/submit.py --stock 1000    # as many for the stock launcher (some minutes)

A twin of JUWELS is started for it (Debian, root; `make twin` installs SLURM), and every job is held, so nothing runs. The stock
launcher is installed into a temporary folder (it is no dependency of longview); it composes the same conf/ and blocks until its
jobs end, so its time is taken until its array is in the queue.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from slurm.twin import Twin, start  # noqa: E402

APP = f"""
import hydra

@hydra.main(config_path={str(ROOT / "conf")!r}, config_name="config", version_base="1.3")
def main(config):
    pass

main()
"""


def queued(twin: Twin) -> int:
    """Jobs of this user in the queue, array elements one by one."""
    return len(twin.run("squeue", "-h", "-r", "-o", "%i").stdout.split())


def clear(twin: Twin) -> None:
    """Empty the queue."""
    twin.run("scancel", "-u", str(os.getuid()))
    while queued(twin):
        time.sleep(0.2)


def ours(twin: Twin, folder: Path, points: int, rounds: int) -> tuple[float, int, int, int]:
    """Seconds from Enter to prompt (least of several), sbatch calls, files and bytes per point."""
    best = float("inf")
    for i in range(rounds):
        root = folder / f"runs-{points}-{i}-{time.time_ns()}"
        sweep = f"seed=range(1,{points + 1})"
        line = [
            sys.executable,
            str(ROOT / "run.py"),
            "-m",
            "cluster=juwels",
            sweep,
            "launch.sbatch={hold: true}",
            f"run.root={root}",
        ]
        begun = time.perf_counter()
        done = subprocess.run(line, env=twin.environ, capture_output=True, text=True, cwd=folder)
        best = min(best, time.perf_counter() - begun)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        if (there := queued(twin)) != points:
            sys.exit(f"{there} of {points} jobs are in the queue\n{done.stdout}{done.stderr}{twin.run('squeue').stdout}")
        clear(twin)
    files = [p for p in next(root.glob("*/sweep.json")).parent.rglob("*") if p.is_file()]
    calls = len([p for p in files if p.suffix == ".sh"])
    return best, calls, round(len(files) / points), round(sum(p.stat().st_size for p in files) / points)


def bare(twin: Twin, folder: Path, points: int, rounds: int) -> float:
    """Seconds of sbatch --array alone."""
    best = float("inf")
    for _ in range(rounds):
        begun = time.perf_counter()
        twin.run("sbatch", "--hold", f"--array=0-{points - 1}", "-o", "/dev/null", "--gres=gpu:4", "--wrap=true")
        best = min(best, time.perf_counter() - begun)
        clear(twin)
    return best


def stock(twin: Twin, folder: Path, points: int) -> float:
    """Seconds until hydra-submitit-launcher has its array in the queue."""
    plugins = folder / "plugins"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(plugins),
        "hydra-submitit-launcher==1.2.0",
    ]
    subprocess.run(pip, check=True)
    (folder / "app.py").write_text(APP)
    line = [sys.executable, str(folder / "app.py"), "-m", "hydra/launcher=submitit_slurm", f"seed=range(1,{points + 1})"]
    line += ["hydra.launcher.account=twin", "hydra.launcher.gres=gpu:4", "+hydra.launcher.additional_parameters.hold=true"]
    line += [f"hydra.sweep.dir={folder / 'stock'}", "hydra.launcher.array_parallelism=1000"]
    env = {**twin.environ, "PYTHONPATH": f"{plugins}:{ROOT / 'src'}"}
    begun = time.perf_counter()
    process = subprocess.Popen(
        line, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        while queued(twin) < points:
            if process.poll() is not None:
                sys.exit(f"the stock launcher ended: {process.communicate()[0].decode()[-2000:]}")
            time.sleep(0.1)
        return time.perf_counter() - begun
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        clear(twin)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[1, 10, 200, 1000], help="sweep sizes for longview")
    parser.add_argument("--stock", type=int, default=200, help="sweep size for hydra-submitit-launcher")
    parser.add_argument("--rounds", type=int, default=3, help="the least of so many counts")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="submit"))
    twin = start("juwels", folder / "twin", nodes=2, others=1)
    try:
        print(f"{'points':>7} {'longview':>10} {'ms/point':>9} {'sbatch':>7} {'files/pt':>9} {'bytes/pt':>9} {'bare sbatch':>12}")
        for points in options.points:
            seconds, calls, files, size = ours(twin, folder, points, options.rounds)
            alone = bare(twin, folder, points, options.rounds)
            print(
                f"{points:>7} {seconds:>8.2f} s {seconds / points * 1e3:>9.1f} {calls:>7} {files:>9} {size:>9} {alone:>10.3f} s",
                flush=True,
            )
        same = ours(twin, folder, options.stock, 1)[0]
        other = stock(twin, folder, options.stock)
        print(f"\n{options.stock} points until queued: hydra-submitit-launcher 1.2 {other:.1f} s, longview {same:.2f} s:")
        print(f"{other / same:.0f} x ({other / options.stock * 1e3:.0f} ms a point); the stock launcher then blocks")
    finally:
        twin.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
