"""What the processes of test_train_sharding.py run: some steps of every case with the encoder in parts.

torchrun … ranks_sharded.py CASES.json OUTPUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from phylocli import recipes
from phylocli.config.assignments import nested
from phylocli.train.data.loading import load_corpus
from phylocli.train.data.types import PairBatch, chunks_by_length
from phylocli.train.parallel.fsdp import ShardedEngine
from phylocli.train.parallel.strategy import Engine
from phylocli.train.parallel.world import World, joined, local
from phylocli.train.task import Learner, choose_precision
from phylocli.train.validation import validate

CPU = torch.device("cpu")
STEPS = 2


def whole(value: torch.Tensor) -> torch.Tensor:
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().clone()


def groups(pairs: PairBatch, tokens: int) -> list[int]:
    """Return in how many groups each of two processes encodes the first views of a batch."""
    lengths = [len(s) for s in pairs.a]
    return [len(chunks_by_length([lengths[i] for i in share], tokens)) for share in World(0, 2).shares(lengths)]


def steps(case: dict[str, Any], world: World) -> dict[str, Any]:
    """Return what some steps of a case compute: gradients, their norms, terms, weights, and how much this process holds."""
    config = recipes.merge(recipes.load(case["recipe"]).settings, nested(case["settings"]), "test")
    learner = Learner(config, 0)
    learner.world, learner.precision = world, choose_precision(config["precision"], CPU)
    corpus = load_corpus([case["families"]], config, 0, every_view=learner.needs.views == "all")
    kind = Engine if world.size == 1 else ShardedEngine
    engine = kind(learner, corpus, config["optimiser"], CPU)
    parts = config["batch"]["accumulate"]
    found: dict[str, Any] = {}
    learner.train()
    for step in range(STEPS):
        terms = engine.gradients([corpus.batch(step * parts + i) for i in range(parts)])
        found |= {f"{name} {step}": value for name, value in terms.items()}
        weights = {name: p for name, p in learner.named_parameters() if p.requires_grad}
        gradient = [whole(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in weights.values()]
        found[f"gradient {step}"] = torch.cat(gradient)
        found[f"norm {step}"] = engine.clip(config["optimiser"]["clip"])
        engine.optimiser.step()
        learner.after_step()
        if step == 0 and case.get("again"):  # through a checkpoint, as after a stop
            engine.restore(engine.state())
    found["groups"] = [groups(corpus.batch(i), learner.tokens) for i in range(STEPS * parts)]
    held_out = corpus.validation(12)
    assert held_out is not None
    found["validation"] = torch.tensor([*validate(learner, held_out).values()])
    encoder, moments = learner.model.encoder, engine.optimiser.state
    found["held"] = {
        "encoder": sum(local(p).numel() for p in encoder.parameters()),
        "gradients": sum(local(p.grad).numel() for p in encoder.parameters() if p.grad is not None),
        "moments": sum(local(moments[p]["exp_avg"]).numel() for p in encoder.parameters() if p in moments),
        "slow": sum(local(p).numel() for p in learner.slow["model"].encoder.parameters()) if learner.slow else 0,
    }
    state = engine.state()
    if world.main:
        found["state"] = state
        model = engine.model()
        assert model is not None
        found["model"] = model.state_dict()
    else:
        assert engine.model() is None
    return found


def main() -> None:
    cases = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    with joined(CPU) as world:
        torch.save({name: steps(case, world) for name, case in cases.items()}, f"{sys.argv[2]}-{world.rank}.pt")


if __name__ == "__main__":
    main()
