"""Training and embedding on a device that is not the CPU, as far as that goes without one.

Two stand-ins. `meta` tensors have shapes and a device but no values: mixing them with CPU tensors raises, and so does
reading a value, for which a GPU would have to be waited for. Fake `cuda` tensors (`make fake-cuda`, with a CUDA build of
torch and no GPU) are the same with CUDA's own rules, kernels and data types; copies between host and device are seen, too.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from phylocli import models, recipes
from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core import plugins
from phylocli.core.plugins import CRITICS
from phylocli.critics import build_critic
from phylocli.embed import Embedder
from phylocli.objectives import build_objective, needs_decoder, requirements_of
from phylocli.simulate import random_tree, simulate_states
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.loading import load_corpus
from phylocli.train.parallel.strategy import Strategy
from phylocli.train.task import ContrastiveTask
from phylocli.train.validation import validate
from phylocli.tree.likelihood.forest import BinaryTree, Forest, SitePatterns
from phylocli.tree.likelihood.pruning import Pruner
from phylocli.tree.likelihood.shape import exact_rates, fit_shape
from phylocli.tree.models import substitution_model

SMALL: dict[str, Any] = {"encoder.preset": "tiny", "batch.pairs": 8, "batch.max_tokens": 512}
OBJECTIVES = plugins.OBJECTIVES.names()
ENCODERS = [name for name in plugins.ENCODERS.names() if name not in ("plm", "language-model")]


class WaitsForDevice(AssertionError):
    """The host would wait for the GPU in the middle of a step."""


class _Copies(TorchDispatchMode):
    """Raises where a value is copied between host and device in a way that makes the host wait."""

    strict = True  # not while something is made ready before the first step

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.strict and func is torch.ops.aten._to_copy.default:
            source, target = args[0].device.type, torch.device(kwargs.get("device") or args[0].device).type
            if source != target and not kwargs.get("non_blocking"):
                raise WaitsForDevice(f"copy from {source} to {target} that waits")
            if (source, target) == ("cuda", "cpu"):
                raise WaitsForDevice("copy from the device")
        return func(*args, **kwargs)


def _fake(module: nn.Module, device: torch.device) -> nn.Module:
    """Give a module weights on a device; `Module.to` cannot replace fake tensors."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is None or tensor.device == device:
                    continue
                moved = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device)
                tensors[name] = nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
        if isinstance(part, nn.RNNBase):
            part._init_flat_weights()
    return module


@contextlib.contextmanager
def _fake_cuda() -> Iterator[torch.device]:
    from torch._dispatch.python import enable_python_dispatcher
    from torch._subclasses import FakeTensorMode

    copied, plain = torch.tensor, pytest.MonkeyPatch()

    def tensor(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        if device is not None and torch.device(device).type == "cuda":
            raise WaitsForDevice("torch.tensor(…, device=cuda) copies from the host and waits")
        return copied(data, *args, device=device, **kwargs)

    device = torch.device("cuda", 0)
    state = torch.zeros(16, dtype=torch.uint8)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    mode.cache_enabled = False
    with plain.context() as patch, torch.backends.cudnn.flags(enabled=False), mode:
        patch.setattr(torch, "tensor", tensor)
        patch.setattr(nn.Module, "to", lambda module, place: _fake(module, torch.device(place)))
        patch.setattr(torch.cuda, "get_rng_state", lambda *_: state)
        patch.setattr(torch.cuda, "set_rng_state", lambda *_: None)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        patch.setattr("torch.amp.autocast_mode.torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
        with enable_python_dispatcher(), _Copies():  # without it, recurrent layers have no form for fake tensors
            yield device


@contextlib.contextmanager
def _meta() -> Iterator[torch.device]:
    def known(kind: str) -> str:  # torch knows no autocast for `meta`
        return "cpu" if kind == "meta" else kind

    autocast, enabled, dtype = torch.autocast, torch.is_autocast_enabled, torch.get_autocast_dtype
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "autocast", lambda kind, *args, **options: autocast(known(kind), *args, **options))
        patch.setattr(torch, "is_autocast_enabled", lambda kind: enabled(known(kind)))
        patch.setattr(torch, "get_autocast_dtype", lambda kind: dtype(known(kind)))
        yield torch.device("meta")


Elsewhere = contextlib.AbstractContextManager[torch.device]


@pytest.fixture(params=["meta", pytest.param("cuda", marks=pytest.mark.fake_cuda)])
def elsewhere(request: pytest.FixtureRequest) -> Elsewhere:
    """A device without values, within its context; there, reading one raises."""
    return _meta() if request.param == "meta" else _fake_cuda()


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(4, members=12, in_clan=2)


@pytest.fixture(scope="module")
def made(families: Path) -> Callable[..., tuple[ContrastiveTask, Corpus, dict[str, Any]]]:
    def make(recipe: str = "simclr", **changes: Any) -> tuple[ContrastiveTask, Corpus, dict[str, Any]]:
        changed = nested({**SMALL, **{name.replace("__", "."): value for name, value in changes.items()}})
        config = TrainConfig.of(None, {"recipe": recipe, **changed})
        task = ContrastiveTask(config)
        corpus = load_corpus([families], config, every_view=task.requirements.views == "all")
        task.read_families(corpus.families)
        return task, corpus, config

    return make


def step_twice(
    task: ContrastiveTask, corpus: Corpus, config: dict[str, Any], elsewhere: Elsewhere, patch: pytest.MonkeyPatch
) -> None:
    """Do two steps of two batches as a run does them; check that what they give is on the device."""
    batches = [[corpus.batch(0), corpus.batch(1)], [corpus.batch(2), corpus.batch(3)]]
    with elsewhere as device:
        strategy = Strategy(task, config.optimiser, device)
        assert task.device == device
        if device.type == "cuda":  # the backward pass asks the driver for streams, even for fake tensors; on `meta` it runs
            trained = [p for p in task.parameters() if p.requires_grad]
            patch.setattr(torch.Tensor, "backward", lambda _: [setattr(p, "grad", torch.empty_like(p)) for p in trained])
        task.train()
        for pairs in batches:
            terms = strategy.gradients(pairs)
            assert {value.device for value in terms.values()} == {device}
            assert strategy.clip(1.0).device == device
            assert any(p.grad is not None for p in task.parameters())
            strategy.optimiser.step()
            task.after_step()


def test_the_stand_ins_notice_what_would_go_wrong_or_wait_on_a_gpu(elsewhere: Elsewhere) -> None:
    with elsewhere as device:
        x, host = torch.ones(2, device=device), torch.ones(2)
        for wrong in (lambda: x + host, lambda: float(x.sum()), lambda: x[x > 0], lambda: bool((x > 0).any())):
            with pytest.raises((RuntimeError, NotImplementedError)):
                wrong()
        assert (x + host.to(device, non_blocking=True)).device == device
        if device.type == "cuda":
            for waits in (lambda: host.to(device), x.cpu, lambda: torch.tensor([1.0], device=device)):
                with pytest.raises(WaitsForDevice):
                    waits()


@pytest.mark.parametrize("recipe", [name for name in recipes.names() if "task" not in recipes.read(name).values])
def test_steps_of_every_recipe_stay_on_the_device(
    recipe: str, made: Callable[..., Any], elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_twice(*made(recipe), elsewhere, monkeypatch)


def test_steps_with_heads_on_residues_stay_on_the_device(
    made: Callable[..., Any], elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = {"id": ["a", "b"], "sequence": ["MKV", "MKVLA"], "three_di": ["DVV", "DDPVV"], "dssp": ["HH.", "CEEEC"]}
    profile = [[1.0] * 60, [1.0] * 100]
    pl.DataFrame({**rows, "profile": profile}).write_parquet(tmp_path / "labels.parquet")
    weights = {f"residues__weights__{name}": 1.0 for name in ("3di", "ss3", "ss8", "profile")}
    step_twice(*made(residues__labels=str(tmp_path / "labels.parquet"), **weights), elsewhere, monkeypatch)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("how", ["plain", "bf16", "cache", "recompute"])
def test_steps_of_every_encoder_stay_on_the_device(
    encoder: str, how: str, made: Callable[..., Any], elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {
        "cache": {"batch__grad_cache": True},
        "recompute": {"batch__activation_checkpointing": True},
    }.get(how, {})
    if encoder == "recurrent":  # a call for each residue
        changes["view__crop__max_length"] = 12
    task, corpus, config = made(encoder__name=encoder, encoder__parameters__dropout=0.1, **changes)
    task.execution.precision = torch.bfloat16 if how == "bf16" else torch.float32
    step_twice(task, corpus, config, elsewhere, monkeypatch)


@pytest.mark.parametrize("mode", ["frozen", "lora", "full"])
def test_steps_of_plm_stay_on_the_device(
    mode: str, esm_checkpoint: Path, made: Callable[..., Any], elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {"checkpoint": str(esm_checkpoint), "mode": mode, "project": 8}
    step_twice(*made(encoder__name="plm", encoder__parameters=parameters), elsewhere, monkeypatch)


@pytest.mark.parametrize(
    "pooling", ["mean", "feature-mean", "segment-mean", "max", "attention", "first", "generalised-mean"]
)
def test_steps_of_every_pooling_stay_on_the_device(
    pooling: str, made: Callable[..., Any], elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_twice(*made(encoder__pooling=pooling), elsewhere, monkeypatch)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_steps_of_every_objective_stay_on_the_device(
    objective: str, made: Callable[..., Any], elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    critic = build_critic("gaussian", 8)
    views = requirements_of(build_objective(objective, critic, dimension=8, features=8)).views
    changes = {"critic__name": "gaussian"} if needs_decoder(objective) else {}
    if objective == "hybrid":
        changes |= {"decoder__name": "aligned", "view__crop__max_length": 12}  # a step for each residue
    if views == "all":
        changes["view__name"] = "phylogenetic+crop+decoy"
    step_twice(*made(objective__name=objective, **changes), elsewhere, monkeypatch)


@pytest.mark.parametrize("queue", [12, 100])
@pytest.mark.parametrize("objective", ["moco", "swav"])
def test_queues_stay_on_the_device(
    objective: str, queue: int, made: Callable[..., Any], elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_twice(*made(objective, objective__queue=queue), elsewhere, monkeypatch)


@pytest.mark.parametrize("critic", [name for name in CRITICS.names() if name != "categorical"])
def test_steps_of_every_critic_stay_on_the_device(
    critic: str, made: Callable[..., Any], elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_twice(*made(critic__name=critic), elsewhere, monkeypatch)


def test_the_gpu_benchmark_runs_every_stage_on_a_cpu_and_refuses_where_there_is_no_gpu(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"
    options = ["--device", "cpu", "--quick", "--output", tmp_path / "gpu.json"]
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert {row["outcome"] for row in rows} == {"ok"}
    assert {row["stage"].split(":")[0] for row in rows} == {"agreement", "speed"}
    if not torch.cuda.is_available():
        refused = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert refused.returncode == 1 and refused.stderr.startswith("No CUDA device: ")
        assert not any(tmp_path.glob("*.json.part"))


def test_embedding_moves_what_it_needs_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.device] = []

    def fetched(tensor: torch.Tensor) -> torch.Tensor:  # what embedding is for: vectors come back, without values here
        taken.append(tensor.device)
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    model = models.load("default")  # with kernel means and whitening
    with _meta() as device, monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "cpu", fetched)
        embedder = Embedder(model.to(device), window=64, overlap=32)
        assert embedder.pooled(["MKVLAWG", "MKV" * 50]).shape == (2, model.dimension)  # the second in windows
        assert [x.shape for x in embedder.residues(["MKVLAWG"])] == [(7, model.encoder.dimension)]
    assert taken and set(taken) == {device}


def test_validation_stays_on_the_device_until_its_figures_are_read(
    made: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, corpus, _ = made()
    pairs = corpus.batch(0)
    read: list[torch.device] = []

    def fetched(tensor: torch.Tensor) -> torch.Tensor:
        read.append(tensor.device)
        return torch.ones(tensor.shape, dtype=tensor.dtype)

    with _meta() as device, monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "__float__", lambda tensor: float(fetched(tensor)[()].numpy()))
        patch.setattr(torch.Tensor, "cpu", fetched)
        figures = validate(task.to(device), pairs)
    assert len(read) == len(figures) and set(read) == {device}  # each once, at the end
    assert all(value == 1 for name, value in figures.items() if name != "val_rank")


def test_sweeps_over_many_trees_stay_on_the_device(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    trees, patterns = [], []
    for tips in (4, 7, 12):
        tree = random_tree(tips, rng)
        states = simulate_states(tree, 50, rng)
        trees.append(BinaryTree.of(tree, states))
        patterns.append(SitePatterns.of(states))
    alpha, known = torch.ones(3, dtype=torch.float64), exact_rates(torch.ones(3, dtype=torch.float64), 4)
    with elsewhere as device:
        with monkeypatch.context() as patch:
            patch.setattr(_Copies, "strict", False)
            forest = Forest(trees, patterns, device=device, dtype=torch.float32)
            pruner = Pruner(forest, substitution_model("lg"), known.to(device))
            shapes, rates = alpha.to(device), known.to(device)
        for _ in range(2):
            sites = pruner.ascend()
            slopes = pruner.descend(2)
        assert sites.device == slopes.device == pruner.length.device == device
        with monkeypatch.context() as patch:  # tables of rates are made on the host, from the shapes that it reads
            patch.setattr("phylocli.tree.likelihood.shape.exact_rates", lambda *_: rates)
            assert all(found.device == device for found in fit_shape(sites, forest.weights, shapes))
