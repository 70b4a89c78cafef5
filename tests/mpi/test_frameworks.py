"""Scripts of other frameworks find what they look for in a rank's environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Beowulf

DATA_PARALLEL = """
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")  # env://: MASTER_ADDR, MASTER_PORT, RANK, WORLD_SIZE
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Linear(2, 1))
x = torch.full((1, 2), float(dist.get_rank() + 1))
model(x).sum().backward()
print("gradient", model.module.weight.grad.tolist()[0], "of", dist.get_world_size())
dist.destroy_process_group()
"""

SHOW_VARIABLES = """
import json, os, pathlib

names = ("RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR MASTER_PORT TF_CONFIG JAX_COORDINATOR_ADDRESS "
         "JAX_NUM_PROCESSES JAX_PROCESS_ID BEOWULF_JOB_DIR BEOWULF_RANK BEOWULF_RANKS "
         "BEOWULF_ATTEMPT OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS OWN").split()
directory = pathlib.Path(os.environ["BEOWULF_JOB_DIR"])
(directory / f"seen-{os.environ['RANK']}").write_text(
    json.dumps({name: os.environ[name] for name in names})
)
"""


@pytest.mark.torch
def test_torch_data_parallel_script_starts_unchanged(beowulf: Beowulf, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch, the optional extra, is not installed")
    (tmp_path / "ddp.py").write_text(DATA_PARALLEL)
    answer = beowulf("submit", tmp_path / "ddp.py", "--ranks", "2")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    # The mean of the ranks' inputs, 1 and 2: the gradients were averaged.
    assert answer.stdout.count("gradient [1.5, 1.5] of 2") == 2


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_every_rank_finds_its_variables(beowulf: Beowulf, tmp_path: Path, ranks: int) -> None:
    (tmp_path / "show.py").write_text(SHOW_VARIABLES)
    options = ("--ranks", str(ranks), "--threads-per-rank", "3", "--env", "OWN=a b $(id) é")
    answer = beowulf("submit", tmp_path / "show.py", *options, "--json")
    assert answer.returncode == 0, answer.stderr
    directory = Path(json.loads(answer.stdout)["job"]["directory"])
    seen = [json.loads((directory / f"seen-{rank}").read_text()) for rank in range(ranks)]
    for rank, found in enumerate(seen):
        assert found["RANK"] == found["LOCAL_RANK"] == found["BEOWULF_RANK"] == str(rank)
        assert found["WORLD_SIZE"] == found["BEOWULF_RANKS"] == str(ranks)
        assert found["JAX_NUM_PROCESSES"] == str(ranks)
        assert found["JAX_PROCESS_ID"] == str(rank)
        assert found["BEOWULF_ATTEMPT"] == "1"
        assert found["BEOWULF_JOB_DIR"] == str(directory)
        assert found["OWN"] == "a b $(id) é"
        assert {found[n] for n in found if n.endswith("_NUM_THREADS")} == {"3"}
        assert found["MASTER_ADDR"] == "127.0.0.1"
        workers = json.loads(found["TF_CONFIG"])["cluster"]["worker"]
        assert len(set(workers)) == ranks
        assert json.loads(found["TF_CONFIG"])["task"] == {"type": "worker", "index": rank}
        assert workers[0] == found["JAX_COORDINATOR_ADDRESS"]
        assert workers[0] == f"{found['MASTER_ADDR']}:{found['MASTER_PORT']}"
    assert len({found["TF_CONFIG"].split('"task"')[0] for found in seen}) == 1
