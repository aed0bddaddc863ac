"""What the processes of test_fsdp.py run: some steps of every case with the encoder in parts.

torchrun … ranks_sharded.py CASES.json OUTPUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.train.data.loading import load_corpus
from phylocli.train.data.types import PairBatch, chunks_by_length
from phylocli.train.parallel.execution import Execution, choose_precision
from phylocli.train.parallel.fsdp import ShardedStrategy
from phylocli.train.parallel.strategy import Strategy
from phylocli.train.parallel.world import World, joined, local
from phylocli.train.task import ContrastiveTask
from phylocli.train.validation import validate

CPU = torch.device("cpu")
STEPS = 2


def whole(value: torch.Tensor) -> torch.Tensor:
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().clone()


def groups(pairs: PairBatch, tokens: int) -> list[int]:
    """Return in how many groups each of two processes encodes the first views of a batch."""
    lengths = [len(s) for s in pairs.a]
    return [len(chunks_by_length([lengths[i] for i in share], tokens)) for share in World(0, 2).partition(lengths)]


def steps(case: dict[str, Any], world: World) -> dict[str, Any]:
    """Return what some steps of a case compute: gradients, their norms, terms, weights, and how much this process holds."""
    config = TrainConfig.of(None, {"recipe": case["recipe"], **nested(case["settings"])})
    batch, precision = config.batch, choose_precision(config.precision, CPU)
    execution = Execution(batch.max_tokens, batch.grad_cache, precision, world, sharded=world.size > 1)
    task = ContrastiveTask(config, execution)
    corpus = load_corpus([case["families"]], config, every_view=task.requirements.views == "all")
    kind = Strategy if world.size == 1 else ShardedStrategy
    strategy = kind(task, config.optimiser, CPU)
    parts = config.batch.accumulate
    found: dict[str, Any] = {}
    task.train()
    for step in range(STEPS):
        terms = strategy.gradients([corpus.batch(step * parts + i) for i in range(parts)])
        found |= {f"{name} {step}": value for name, value in terms.items()}
        weights = {name: p for name, p in task.named_parameters() if p.requires_grad}
        gradient = [whole(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in weights.values()]
        found[f"gradient {step}"] = torch.cat(gradient)
        found[f"norm {step}"] = strategy.clip(config.optimiser.clip)
        strategy.optimiser.step()
        task.after_step()
        if step == 0 and case.get("again"):  # through a checkpoint, as after a stop
            strategy.restore(strategy.state())
    found["groups"] = [groups(corpus.batch(i), task.execution.max_tokens) for i in range(STEPS * parts)]
    held_out = corpus.validation(12)
    assert held_out is not None
    found["validation"] = torch.tensor([*validate(task, held_out).values()])
    encoder, moments = task.model.encoder, strategy.optimiser.state
    found["held"] = {
        "encoder": sum(local(p).numel() for p in encoder.parameters()),
        "gradients": sum(local(p.grad).numel() for p in encoder.parameters() if p.grad is not None),
        "moments": sum(local(moments[p]["exp_avg"]).numel() for p in encoder.parameters() if p in moments),
        "slow": sum(local(p).numel() for model in task.models()[1:] for p in model.encoder.parameters()),
    }
    state = strategy.state()
    if world.main:
        found["state"] = state
        model = strategy.model()
        assert model is not None
        found["model"] = model.state_dict()
    else:
        assert strategy.model() is None
    return found


def main() -> None:
    cases = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    with joined(CPU) as world:
        torch.save({name: steps(case, world) for name, case in cases.items()}, f"{sys.argv[2]}-{world.rank}.pt")


if __name__ == "__main__":
    main()
