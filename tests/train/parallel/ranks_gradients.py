"""What the processes of test_world.py run: gradients of several steps for every case, and what each rank saw.

torchrun … ranks_gradients.py CASES.json OUTPUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.errors import UsageError
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.loading import load_corpus
from phylocli.train.modalities.table import ModalityCorpus, load_modalities
from phylocli.train.modalities.task import MultimodalTask
from phylocli.train.parallel.execution import Execution
from phylocli.train.parallel.world import World, joined, replicated
from phylocli.train.task import ContrastiveTask


def steps(case: dict[str, Any], world: World) -> dict[str, torch.Tensor]:
    """Return the gradients of a step or two as vectors, its terms, and what its objective keeps from step to step."""
    config = TrainConfig.of(None, {"recipe": case["recipe"], **nested(case["settings"])})
    batch = config.batch
    execution = Execution(batch.max_tokens, batch.grad_cache, world=world)
    task: ContrastiveTask | MultimodalTask
    corpus: Corpus | ModalityCorpus
    if config.modalities:
        task = MultimodalTask(config, execution)
        corpus, unused, kept = load_modalities(config, task), True, [task.objectives]
    else:
        task = ContrastiveTask(config, execution)
        corpus = load_corpus([case["families"]], config, every_view=task.requirements.views == "all")
        task.read_families(corpus.families)
        unused, kept = task.has_unused_parameters(corpus.batch(0)), [task.objective, task.distillation]
    trained = task if world.size == 1 else replicated(task, find_unused=unused)
    found: dict[str, torch.Tensor] = {}
    has_state = any(True for part in filter(None, kept) for _ in part.named_buffers())
    for step in (0, 1) if has_state else (0,):  # the second meets queues with something in them
        task.zero_grad()
        terms = trained(corpus.batch(step))
        terms["loss"].backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in task.parameters() if p.requires_grad]
        found[f"gradient {step}"] = torch.cat([g.flatten() for g in grads])
        found |= {f"{name} {step}": value.detach() for name, value in terms.items()}
        task.after_step()
    for part in filter(None, kept):
        found |= {f"kept {name}": value.double() for name, value in part.named_buffers()}
    found["residues"] = torch.tensor(corpus.batch(0).residues)
    return found


def main() -> None:
    cases = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as world:
        shares = world.partition([5, 3, 9, 3, 4])
        everyone = world.collect({"share": shares[world.rank], "rank": world.rank})
        with pytest.raises(UsageError, match="different pairs"):
            world.check_same("pairs", lambda: bytes(world.rank))
        found = {"world": everyone, **{name: steps(case, world) for name, case in cases.items()}}
        torch.save(found, f"{sys.argv[2]}-{world.rank}.pt")


if __name__ == "__main__":
    main()
