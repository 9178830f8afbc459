"""SLURM's reasons in plain words."""

from __future__ import annotations

import pytest

from longview.runs.reasons import REASONS, reason_of


@pytest.mark.parametrize(
    ("word", "words", "never"),
    [
        ("Priority", "other jobs come first", False),
        ("Resources", "free nodes", False),
        ("(Resources)", "free nodes", False),
        ("BeginTime", "time it was told to begin at", False),
        ("PartitionTimeLimit", "more time than the partition allows", True),
        ("PartitionNodeLimit", "nodes than the partition allows", True),
        ("DependencyNeverSatisfied", "the job it waits for failed", True),
        ("JobHeldUser", "held by you", True),
        ("ReqNodeNotAvail, UnavailableNodes:jwb[0001-0004]", "maintenance", False),
        ("ReqNodeNotAvail(Unavailable:jwb0001)", "SLURM says", False),
        ("launch failed requeued held", "its start failed on a node", True),
        ("launch_failed_requeued_held", "its start failed on a node", True),
        ("QOSMaxJobsPerUserLimit", "the QoS's limit of jobs running at once", False),
        ("QOSMaxSubmitJobPerUserLimit", "the QoS's limit of jobs in the queue", False),
        ("QOSMaxNodePerJobLimit", "the QoS's limit of nodes", True),
        ("QOSMaxWallDurationPerJobLimit", "the QoS's limit of time per job", True),
        ("QOSMaxGRESPerUser", "the QoS's limit of GPUs", False),
        ("AssocGrpGRES", "your account's limit of GPUs", False),
        ("AssocGrpCPUMinutesLimit", "your account's budget is used up", False),
        ("AssocGrpBillingMinutes", "your account's budget is used up", False),
        ("", "has not looked at it yet", False),
        ("SomethingNew", "SLURM says: SomethingNew", False),
    ],
)
def test_words(word: str, words: str, never: bool) -> None:
    reason = reason_of(word)
    assert words in reason.words
    assert reason.never == never
    assert reason.advice


def test_a_requeued_job_is_held_by_slurm_and_not_by_its_user() -> None:
    assert "two minutes" in reason_of("BeginTime", attempts=1).words


def test_what_never_starts_says_what_to_do() -> None:
    for name, reason in REASONS.items():
        assert not reason.never or any(verb in reason.advice for verb in ("cancel", "release", "ask")), name
