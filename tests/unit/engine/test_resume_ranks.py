"""Two ranks on one machine (gloo): each resumes its own random stream, and together they lose or repeat no sample."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

RANK_SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_resume import StopAt, run
out, stop_hook, count = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
ranks = {"devices": 2, "strategy": "ddp"}
whole, parts = [], []
reference = run(whole, **ranks)
rank = reference.global_rank
run(parts, stop=StopAt(stop_hook, count, out / "a.ckpt"), **ranks)
model = run(parts, ckpt=out / "a.ckpt", **ranks)
same = all((v == model.state_dict()[k]).all() for k, v in reference.state_dict().items())
(out / f"{rank}.json").write_text(json.dumps({"whole": whole, "parts": parts, "weights": bool(same)}))
import torch.distributed
torch.distributed.destroy_process_group()  # gloo's threads must not outlive the interpreter
"""


@pytest.mark.parametrize(("hook", "count"), [("on_train_batch_end", 2), ("on_train_batch_end", 3)])
def test_two_ranks_resume_each_with_its_own_random_stream(tmp_path, hook, count):
    script = tmp_path / "rank.py"
    script.write_text(RANK_SCRIPT)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(2):
        env = {**os.environ, "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, str(script), str(Path(__file__).parent), str(tmp_path), hook, str(count)]
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    try:
        errors = [process.communicate(timeout=180)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], errors
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for result in found:
        assert result["parts"] == result["whole"]
        assert result["weights"]
    noise = [[e[-1] for e in result["whole"] if e[0] == "train"] for result in found]
    assert noise[0] != noise[1]
    videos = [sorted(v for e in result["whole"] if e[0] == "train" and e[1] == 0 for v in e[6]) for result in found]
    assert sorted(videos[0] + videos[1]) == [f"train{i:03d}" for i in range(19)]
