"""What squeue and sacct print, captured from SLURM 22.05.8, and what is made of it when they cannot answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from follow import Slurm
from longview.runs import queue
from longview.runs.queue import ask_sacct, ask_squeue, elements, newest, parse_sacct, parse_squeue

SQUEUE = """\
1|1|COMPLETED|2026-11-20T06:54:38|jwb0001|None
2|2|FAILED|2026-11-20T06:54:38|jwb0002|NonZeroExitCode
4_1|12|CANCELLED|2026-11-20T06:54:38|jwb0001|None
4_3|4|PENDING|N/A||JobArrayTaskLimit
4_4|4|PENDING|N/A||JobArrayTaskLimit
7|7|PENDING|N/A||DependencyNeverSatisfied
8|8|PENDING|2026-11-20T07:54:37||BeginTime
9|9|PENDING|2026-11-20T06:55:38||Resources
19_0|20|COMPLETING|2026-11-20T06:55:31|jwb0003|None
4_2|13|RUNNING|2026-11-20T06:54:43|jwb0003|None
25|25|RUNNING|2026-11-20T06:57:20|jwb[0002-0003]|None
"""
"""`squeue -h -r -t all`."""
FOLDED = """\
4_[2-5%2]|4|PENDING|N/A||JobArrayTaskLimit
10_[1-299,301-400]|10|PENDING|N/A||JobHeldUser
6|6|PENDING|N/A||JobHeldUser
"""
"""`squeue -h`: pending elements of an array in one line."""
SACCT = """\
1|COMPLETED|0:0|2026-11-20T06:54:38|2026-11-20T06:54:38|jwb0001
2|FAILED|3:0|2026-11-20T06:54:38|2026-11-20T06:54:38|jwb0002
3|CANCELLED by 0|0:0|2026-11-20T06:54:38|2026-11-20T06:54:43|jwb0003
6|PENDING|0:0|Unknown|Unknown|None assigned
9|FAILED|9:0|2026-11-20T06:54:43|2026-11-20T06:54:44|jwb0001
23|NODE_FAIL|0:0|2026-11-20T06:56:31|2026-11-20T06:59:13|jwb0001
5|TIMEOUT|0:0|2026-11-20T06:54:38|2026-11-20T06:56:07|jwb0002
4_1|CANCELLED by 0|0:0|2026-11-20T06:54:38|2026-11-20T06:54:43|jwb0001
4_[2-5%2]|PENDING|0:0|Unknown|Unknown|None assigned
"""
"""`sacct -n -P -X`."""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    return Slurm.on_path(tmp_path / "bin", monkeypatch)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", ["7"]),
        ("7_3", ["7_3"]),
        ("7_[3]", ["7_3"]),
        ("7_[4-7%2]", ["7_4", "7_5", "7_6", "7_7"]),
        ("7_[1,3-4,9%1]", ["7_1", "7_3", "7_4", "7_9"]),
        ("7_[0-8:4]", ["7_0", "7_4", "7_8"]),
        ("7+1", ["7+1"]),
    ],
)
def test_ids_of_array_elements(text: str, expected: list[str]) -> None:
    assert elements(text) == expected


@pytest.mark.parametrize("text", ["", "7_", "7_[1,3,5,...]", "JOBID", "7_[]", "7.batch"])
def test_what_is_no_job_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no job id"):
        elements(text)


def test_squeue_is_read() -> None:
    answer = parse_squeue(SQUEUE)
    assert answer.complete
    states = {name: job.state for name, job in answer.jobs.items()}
    assert states["1"] == "COMPLETED"
    assert states["4_3"] == states["4_4"] == "PENDING"
    assert answer.jobs["4_3"].reason == "JobArrayTaskLimit"
    assert answer.jobs["4_3"].start is None
    assert answer.jobs["9"].start is not None, "when SLURM expects it to start"
    assert answer.jobs["4_2"].reason == "", "SLURM's None is nothing"
    assert answer.jobs["25"].nodes == "jwb[0002-0003]"
    assert answer.jobs["13"].id == "4_2", "also by the number that a started element has of its own"


def test_folded_arrays_are_unfolded() -> None:
    answer = parse_squeue(FOLDED)
    assert answer.complete
    assert {"4_2", "4_3", "4_4", "4_5", "10_1", "10_299", "10_301", "10_400", "6"} <= set(answer.jobs)
    assert "10_300" not in answer.jobs
    assert answer.jobs["10_17"].reason == "JobHeldUser"


@pytest.mark.parametrize("line", ["4_[1,3,5,...]|4|PENDING|N/A||Priority", "what?", "1|1|RUNNING"])
def test_a_line_that_cannot_be_read_makes_absence_mean_nothing(line: str) -> None:
    answer = parse_squeue(f"{SQUEUE}{line}\n")
    assert not answer.complete
    assert "could not be read" in answer.problem
    assert answer.jobs["1"].state == "COMPLETED", "what was read counts"


def test_accounting_is_read() -> None:
    answer = parse_sacct(SACCT)
    assert answer.complete
    assert (answer.jobs["3"].state, answer.jobs["3"].by) == ("CANCELLED", "0")
    assert (answer.jobs["9"].code, answer.jobs["9"].nodes) == ("9:0", "jwb0001")
    assert (answer.jobs["23"].state, answer.jobs["5"].state) == ("NODE_FAIL", "TIMEOUT")
    assert answer.jobs["4_5"].state == "PENDING"
    assert answer.jobs["6"].nodes == ""


def test_one_call_for_many_jobs(slurm: Slurm) -> None:
    slurm.says("squeue", SQUEUE)
    answer = ask_squeue(["4_3", "4_4", "9", "25"])
    assert answer.jobs["4_4"].state == "PENDING"
    assert len(slurm.calls("squeue")) == 1
    assert slurm.calls("squeue")[0].endswith("-j 4,9,25"), "an array is asked for once"


def test_nothing_is_asked_about_no_job(slurm: Slurm) -> None:
    assert ask_squeue([]).complete
    assert slurm.calls("squeue") == []


def test_a_job_that_is_purged_is_an_answer(slurm: Slurm) -> None:
    slurm.says("squeue", error="slurm_load_jobs error: Invalid job id specified\n", code=1)
    answer = ask_squeue(["99999"])
    assert answer.complete
    assert answer.jobs == {}


def test_a_controller_that_is_down_is_none(slurm: Slurm) -> None:
    slurm.says("squeue", error="slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", code=1)
    answer = ask_squeue(["7"])
    assert not answer.complete
    assert "Unable to contact slurm controller" in answer.problem


def test_no_slurm_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_squeue(["7"]).problem == "there is no squeue on this machine"


def test_a_controller_that_hangs(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    (slurm.folder / "squeue").write_text("#!/bin/sh\n# A stand-in.\nexec sleep 30\n")
    monkeypatch.setattr(queue, "PATIENCE", 0.2)
    assert "did not answer" in ask_squeue(["7"]).problem


def test_no_accounting_is_a_problem_and_no_error(slurm: Slurm) -> None:
    assert "accounting storage is disabled" in ask_sacct(["7"]).problem


def test_settings_of_the_user_do_not_hide_jobs(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUEUE_PARTITION", "other")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    (slurm.folder / "squeue").write_text(
        '#!/bin/sh\n# A stand-in.\necho "7|7|PENDING|N/A||$SQUEUE_PARTITION$SLURM_TIME_FORMAT"\n'
    )
    assert ask_squeue(["7"]).jobs["7"].reason == "standard"
    assert os.environ["SQUEUE_PARTITION"] == "other"


def test_the_newest_job_is_the_one_with_the_largest_number() -> None:
    assert newest(["99_7", "1000", None, "garbage"]) == "1000"
    assert newest([None]) is None


def test_an_array_cancelled_before_any_element_began_is_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """As sacct 22.05.8 prints it: the elements never came to be, so their end is that of the array's number."""
    fields = len(queue._SACCT.split(","))
    line = "|".join({"JobID": "9", "State": "CANCELLED by 0"}.get(name.split("%")[0], "") for name in queue._SACCT.split(","))
    assert line.count("|") == fields - 1
    monkeypatch.setattr(queue, "ask", lambda command, *_: (line + "\n", ""))
    assert {job: found.state for job, found in ask_sacct(["9_0", "9_1"]).jobs.items()} == {
        "9": "CANCELLED", "9_0": "CANCELLED", "9_1": "CANCELLED",
    }  # fmt: skip
