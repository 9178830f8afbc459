"""sbatch called so that a job is submitted once; sbatch and squeue are stand-ins that fail in ways a real SLURM rarely does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from longview.launch import sbatch

AWAY = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
LOST = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def command(folder: Path, name: str, body: str) -> None:
    path = folder / "bin" / name
    path.write_text(f"#!/bin/bash\necho x >> {folder}/{name}.calls\ncount=$(wc -l < {folder}/{name}.calls)\n{body}\n")
    path.chmod(0o755)


def calls(folder: Path, name: str) -> int:
    path = folder / f"{name}.calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


def submit(folder: Path, said: list[str] | None = None) -> str:
    heard = said if said is not None else []
    return sbatch.submit(folder / "job.sh", "longview:s:1", pauses=(0, 0, 0), say=heard.append)


def test_the_job_s_number(slurm: Path) -> None:
    command(slurm, "sbatch", "echo Submitted batch job 4711")
    assert submit(slurm) == "4711"


def test_a_controller_that_comes_back(slurm: Path) -> None:
    command(slurm, "sbatch", f'[ "$count" -lt 3 ] && {{ echo "{AWAY}" >&2; exit 1; }}\necho Submitted batch job 5')
    command(slurm, "squeue", "exit 1")
    said: list[str] = []
    assert submit(slurm, said) == "5"
    assert calls(slurm, "sbatch") == 3
    assert calls(slurm, "squeue") == 0  # nobody has judged the job: nothing to look for
    assert "SLURM does not answer" in said[0]
    assert "trying again" in said[0]


def test_a_lost_answer_is_looked_for_before_another_try(slurm: Path) -> None:
    command(slurm, "sbatch", f'echo "{LOST}" >&2; exit 1')
    command(slurm, "squeue", 'echo "12 longview:other:1"; echo "34 longview:s:1"; echo "35 "')
    assert submit(slurm) == "34"
    assert calls(slurm, "sbatch") == 1


def test_a_lost_answer_whose_job_is_not_there_is_tried_again(slurm: Path) -> None:
    command(slurm, "sbatch", f'[ "$count" = 1 ] && {{ echo "{LOST}" >&2; exit 1; }}\necho Submitted batch job 6')
    command(slurm, "squeue", 'echo "12 longview:other:1"')
    assert submit(slurm) == "6"
    assert (calls(slurm, "sbatch"), calls(slurm, "squeue")) == (2, 1)


@pytest.mark.parametrize(("words", "lost"), [(AWAY, False), (LOST, True)])
def test_a_controller_that_stays_away(slurm: Path, words: str, lost: bool) -> None:
    command(slurm, "sbatch", f'echo "{words}" >&2; exit 1')
    command(slurm, "squeue", "exit 1")
    with pytest.raises(sbatch.SbatchError, match="SLURM does not answer") as caught:
        submit(slurm)
    assert caught.value.lost is lost
    assert calls(slurm, "sbatch") == 4


def test_a_refusal_is_quoted_and_not_tried_again(slurm: Path) -> None:
    command(slurm, "sbatch", 'echo "sbatch: error: invalid partition: boster" >&2\necho "sbatch: error: no" >&2; exit 1')
    with pytest.raises(sbatch.SbatchError, match=r"^sbatch refused the job: invalid partition: boster; no$") as caught:
        submit(slurm)
    assert not caught.value.lost
    assert calls(slurm, "sbatch") == 1


def test_an_answer_without_a_number(slurm: Path) -> None:
    command(slurm, "sbatch", "echo all right")
    with pytest.raises(sbatch.SbatchError, match="names no job") as caught:
        submit(slurm)
    assert caught.value.lost


def test_no_sbatch_here(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(slurm / "bin"))
    with pytest.raises(sbatch.SbatchError, match="submit from a login node"):
        submit(slurm)
    assert sbatch.find("longview:s:1") == (False, None)
