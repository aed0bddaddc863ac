"""The encoder in parts on several processes: the steps of one process, half the weights in each of two, any checkpoint."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import small_run
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.models.model import Model
from phylocli.train import checkpoints, train_model
from phylocli.train.parallel.world import World


def beside(name: str) -> ModuleType:
    """Import a module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


launching, worker = beside("test_world"), beside("ranks_sharded")

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: dict[str, Any] = {
    **small_run.UNVALIDATED,
    "encoder.parameters.dropout": 0.0,
    "batch.pairs": 9,
    "batch.max_tokens": 300,
    "batch.accumulate": 1,
    "validation.fraction": 0.2,
    "optimiser.clip": 0.5,  # below the gradient's norm, so that it is clipped
    "optimiser.learning_rate": 1e-4,
}
BOTH = {"batch.grad_cache": True, "batch.activation_checkpointing": True}
FEW: dict[str, tuple[str, dict[str, Any]]] = {
    "attention pooling": ("simclr", {"encoder.name": "transformer", "encoder.pooling": "attention"}),
    "recomputed": ("simclr", {"encoder.name": "recurrent", "batch.activation_checkpointing": True, "batch.accumulate": 2}),
    "momentum and a queue": ("moco", {"objective.queue": 36, "batch.max_tokens": 50}),  # sequences one by one: 5 and 4
    "segments, cached": ("declutr", {"encoder.name": "hybrid", "batch.grad_cache": True}),
    "bf16": ("simclr", {"precision": "bf16", **BOTH}),
    "ensemble": ("simclr", {"encoder.name": "ensemble", "batch.activation_checkpointing": True}),
}
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "residues": ("cpc", {}),
    **{f"{name} both": ("simclr", {"encoder.name": name, **BOTH}) for name in ("convolutional", "transformer", "recurrent")},
    "esm2 frozen": ("simclr", {"encoder.parameters.mode": "frozen", "encoder.parameters.project": 12}),
    "esm2 lora": ("simclr", {"encoder.parameters.mode": "lora", "batch.activation_checkpointing": True}),
    "esm2 full": ("simclr", {"encoder.parameters.mode": "full", **BOTH}),
    "ankh lora": ("simclr", {"encoder.parameters.mode": "lora", **BOTH}),
    "ankh full": ("simclr", {"encoder.parameters.mode": "full"}),
    "protbert full": ("simclr", {"encoder.parameters.mode": "full"}),
    "esmc full": ("simclr", {"encoder.parameters.mode": "full"}),
}
PRETRAINED = ("esm2", "ankh", "protbert", "esmc")


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(7, members=20, in_clan=2)


def made(
    cases: dict[str, tuple[str, dict[str, Any]]], families: Path, pretrained: Callable[[str], Path]
) -> dict[str, dict[str, Any]]:
    """Return cases as the processes read them."""
    found: dict[str, dict[str, Any]] = {}
    for name, (recipe, changes) in cases.items():
        settings = {**SMALL, **changes}
        if name.startswith(PRETRAINED):
            settings = {key: value for key, value in settings.items() if key in changes or not key.startswith("encoder")}
            settings |= {"encoder.name": "plm", "encoder.parameters.checkpoint": str(pretrained(name.split()[0]))}
        again = name.startswith("momentum")
        found[name] = {"recipe": recipe, "settings": settings, "families": str(families), "again": again}
    return found


@dataclass
class Comparison:
    """What one process computes for each case, and what each of several says."""

    alone: dict[str, Any]
    together: list[dict[str, Any]]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((2, FEW), id="2"),
        pytest.param((2, MORE), id="2 more", marks=pytest.mark.slow),
        pytest.param((4, FEW | MORE), id="4", marks=pytest.mark.slow),
    ],
)
def compared(
    request: pytest.FixtureRequest,
    families: Path,
    pretrained: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Comparison:
    ranks, chosen = request.param
    folder = tmp_path_factory.mktemp("ranks")
    cases = made(chosen, families, pretrained)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = {name: worker.steps(case, World()) for name, case in cases.items()}
    torch.set_num_threads(before)
    (folder / "cases.json").write_text(json.dumps(cases))
    done = launching.torchrun(ranks, worker.__file__, folder / "cases.json", folder / "found")
    assert done.returncode == 0, done.stderr.decode()
    assert "returned a view" not in done.stderr.decode()
    return Comparison(alone, [torch.load(folder / f"found-{rank}.pt", weights_only=True) for rank in range(ranks)])


def error(found: Tensor, true: Tensor) -> float:
    assert found.shape == true.shape and found.isfinite().all()
    least = 1e-3 if true.ndim else 1.0  # a bound is a difference of numbers near 1, and may be near 0
    return float((found.double() - true.double()).norm() / true.double().norm().clamp(min=least))


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])


def moments(state: dict[str, Any]) -> dict[str, Tensor]:
    entries = state["optimiser"]["state"]
    return {f"{i} {name}": value for i, entry in entries.items() for name, value in entry.items()}


def test_steps_in_parts_are_those_of_one_process(compared: Comparison) -> None:
    for name, true in compared.alone.items():
        ranks = [found[name] for found in compared.together]
        tolerance = 2e-2 if name == "bf16" else 1e-5
        for key, value in true.items():
            if isinstance(value, Tensor):
                assert error(ranks[0][key], value) < tolerance, (name, key)
                assert all(torch.equal(other[key], ranks[0][key]) for other in ranks[1:]), (name, key)
        state, expected = ranks[0]["state"], true["state"]
        assert error(flat(state["task"]), flat(expected["task"])) < tolerance, name
        assert error(flat(ranks[0]["model"]), flat(true["model"])) < tolerance, name
        assert error(flat(moments(state)), flat(moments(expected))) < tolerance, name
        # The form of a checkpoint does not tell how it was made.
        assert state["optimiser"]["param_groups"] == expected["optimiser"]["param_groups"]
        assert {k: v.shape for k, v in moments(state).items()} == {k: v.shape for k, v in moments(expected).items()}
        assert list(state["task"]) == list(expected["task"])


def test_each_process_holds_its_part_alone(compared: Comparison) -> None:
    for name, true in compared.alone.items():
        for what, size in true["held"].items():
            held = [found[name]["held"][what] for found in compared.together]
            assert sum(held) == size
            assert all(abs(part - size / len(held)) <= 0.03 * size for part in held), (name, what, held, size)
    assert all(found["held"]["slow"] > 0 for name, found in compared.alone.items() if name.startswith("momentum"))


def test_processes_with_fewer_groups_go_through_the_encoder_as_often(compared: Comparison) -> None:
    """Otherwise they would wait for each other for ever: what the tests above meet."""
    if "momentum and a queue" in compared.alone:
        assert any(one != other for one, other in compared.alone["momentum and a queue"]["groups"])


RUN = {
    **SMALL,
    "recipe": "moco",
    "objective.queue": 40,
    "batch.accumulate": 2,
    "validation.every": 2,
    "validation.pairs": 12,
    "checkpoints.every": 2,
    "checkpoints.keep": 9,
    "checkpoints.model": "best",
    "checkpoints.best": "val_loss",
    "whitening.power": 0.5,
    "whitening.vectors": 60,
}


def cut_back(run: Path, step: int) -> None:
    """Make it the folder of a run that was killed after the checkpoint of a step."""
    shutil.rmtree(run / "model")
    for path in checkpoints.found(run / "checkpoints"):
        if int(path.stem.removeprefix("step-")) > step:
            path.unlink()


def test_run_resumes_sharded_and_unsharded(families: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {key: value for key, value in RUN.items() if key != "recipe"}
    whole, mixed = tmp_path / "whole", tmp_path / "mixed"
    train_model([families], whole, recipe="moco", steps=6, seed=0, device="cpu", settings=settings)
    shutil.copytree(whole, mixed)
    cut_back(mixed, 2)
    command = ("-m", "phylocli", "train", "--resume", "-o", mixed, "--device", "cpu", "--set", "batch.shard=true")
    done = launching.torchrun(2, *command)
    talk = done.stderr.decode()
    assert done.returncode == 0, talk
    assert "resuming after step 2" in talk and "2 processes, the encoder sharded" in talk
    launching.same_metrics(whole, mixed, rel=1e-5, abs=1e-6)
    cut_back(mixed, 4)  # that of the processes with parts
    capsys.readouterr()
    train_model([], mixed, device="cpu", resume=True, settings={"batch.shard": False})
    assert "was started with 2 processes and is resumed with 1" in capsys.readouterr().err
    launching.same_metrics(whole, mixed, rel=1e-5, abs=1e-6)
    found, true = (load_file(run / "model" / "model.safetensors") for run in (mixed, whole))
    assert list(found) == list(true) and error(flat(found), flat(true)) < 1e-4
    assert Model.load(mixed / "model").config.whitened == 0.5


def test_one_process_alone_has_nothing_to_share(families: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is only one") as caught:
        train_model([families], tmp_path / "run", steps=2, device="cpu", settings={**SMALL, "batch.shard": True})
    assert "torchrun" in str(caught.value.fix)
    assert not (tmp_path / "run").exists()


def test_an_encoder_that_names_no_blocks_is_refused() -> None:
    from phylocli.train.parallel import fsdp as sharding

    model = Model.create(preset="tiny")
    model.encoder = nn.Identity()
    with pytest.raises(UsageError, match="has no `blocks`"):
        sharding._shard(model, None)  # type: ignore[arg-type]
