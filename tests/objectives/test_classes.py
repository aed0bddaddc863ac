"""Classification of families: against explicit loops, homologous classes, class means, and weights in checkpoints."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives import Batch, build_objective
from phylocli.objectives.base.classes import FamilyClassifier

D = 5
CLANS = [7, -1, 7, -1, 3, 7]  # of the six families of the corpus
FAMILY = [0, 2, 3, 3, 5, 1]


def build(name: str, **parameters: Any) -> FamilyClassifier:
    torch.manual_seed(0)
    found = build_objective(name, nn.Identity(), parameters, dimension=D)
    assert isinstance(found, FamilyClassifier)
    found.set_classes(torch.tensor(CLANS))
    return found.double()


def batch() -> Batch:
    family = torch.tensor(FAMILY)
    return Batch.of_families(family, torch.tensor(CLANS)[family])


def views(n: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(len(FAMILY), D, generator=generator, dtype=torch.float64) for _ in range(n)]


def answers(family: int, among: set[int]) -> list[int]:
    return [k for k in sorted(among) if k == family or CLANS[k] < 0 or CLANS[k] != CLANS[family]]


def naive(scores: dict[tuple[int, int, int], float], among: set[int]) -> tuple[float, float]:
    """Return loss and accuracy from the scores of view, pair and class."""
    nats, right = [], []
    for view in range(3):
        for i, family in enumerate(FAMILY):
            if (view, i, family) not in scores or family not in among:
                continue
            found = {k: scores[view, i, k] for k in answers(family, among)}
            nats.append(math.log(sum(math.exp(x) for x in found.values())) - found[family])
            right.append(max(found, key=found.__getitem__) == family)
    return sum(nats) / len(nats), sum(right) / len(right)


def test_cross_entropy_is_its_formula() -> None:
    objective = build("cross-entropy")
    a, b, _ = views()
    assert objective.weight is not None and objective.bias is not None
    with torch.no_grad():
        objective.bias.copy_(torch.linspace(-1, 1, len(CLANS)))
    scores = {
        (view, i, k): (objective.weight[k] @ z[i] + objective.bias[k]).item()
        for view, z in enumerate((a, b))
        for i in range(len(FAMILY))
        for k in range(len(CLANS))
    }
    loss, accuracy = naive(scores, set(range(len(CLANS))))
    terms = objective(a, b, batch())
    assert terms["loss"].item() == pytest.approx(loss, rel=1e-9)
    assert terms["accuracy"].item() == pytest.approx(accuracy)


def cosines(prototypes: dict[int, Tensor]) -> dict[tuple[int, int, int], float]:
    return {
        (view, i, k): float(z[i] @ c / z[i].norm() / c.norm()) / 0.2
        for view, z in enumerate(views())
        for i in range(len(FAMILY))
        for k, c in prototypes.items()
    }


def test_learned_prototypes_classify_all_crops_by_their_cosine() -> None:
    objective = build("cosine-softmax", prototypes="learned", temperature=0.2)
    assert objective.weight is not None
    a, b, c = views()
    given = batch()
    given.more = [c]
    loss, accuracy = naive(cosines(dict(enumerate(objective.weight.detach()))), set(range(len(CLANS))))
    terms = objective(a, b, given)
    assert terms["loss"].item() == pytest.approx(loss, rel=1e-9)
    assert terms["accuracy"].item() == pytest.approx(accuracy)


def test_class_means_are_those_of_the_vectors_of_earlier_steps_and_unseen_classes_do_not_count() -> None:
    objective = build("cosine-softmax", temperature=0.2, queue=20)
    a, b, c = views()
    given = batch()
    given.more = [c]
    first = objective(a, b, given)
    assert first["loss"].item() == 0, "there are no prototypes yet"
    objective.after_step()
    with torch.no_grad():
        old = [-z.flip(0) for z in (a, b)]
    earlier = Batch.of_families(torch.tensor(FAMILY[:3]), torch.tensor([CLANS[k] for k in FAMILY[:3]]))
    objective(old[0][:3], old[1][:3], earlier)
    objective.after_step()
    kept: list[tuple[int, Tensor]] = [(f, z / z.norm()) for x in (a, b) for f, z in zip(FAMILY, x, strict=True)]
    kept += [(f, z / z.norm()) for x in old for f, z in zip(FAMILY[:3], x[:3], strict=True)]
    means = {k: torch.stack([z for f, z in kept if f == k]).mean(0) for k in set(FAMILY)}
    loss, accuracy = naive(cosines(means), set(means))
    terms = objective.eval()(a, b, given)
    assert terms["loss"].item() == pytest.approx(loss, rel=1e-6)  # the queue is float64 here; sums in another order
    assert terms["accuracy"].item() == pytest.approx(accuracy)
    unseen = Batch.of_families(torch.tensor([4, *FAMILY[1:]]), torch.tensor([CLANS[k] for k in (4, *FAMILY[1:])]))
    z = a.clone().requires_grad_()
    objective(z, z, unseen)["loss"].backward()
    assert z.grad is not None and not z.grad[0].any() and z.grad[1:].any(1).all()


@pytest.mark.parametrize(("name", "parameters"), [("cross-entropy", {}), ("cosine-softmax", {"prototypes": "learned"})])
def test_families_of_the_same_clan_are_no_wrong_answers(name: str, parameters: dict[str, str]) -> None:
    objective = build(name, **parameters)
    assert objective.weight is not None
    given = batch()
    given.family, given.clan = given.family[:1], given.clan[:1]  # family 0, of the clan of 2 and 5
    a, b, _ = views()
    objective(a[:1], b[:1], given)["loss"].backward()
    assert objective.weight.grad is not None
    assert objective.weight.grad.any(1).tolist() == [True, True, False, True, True, False]
    objective.zero_grad()
    given.clan = torch.tensor([-1])  # as with negatives=family
    objective(a[:1], b[:1], given)["loss"].backward()
    assert objective.weight.grad is None or objective.weight.grad.any(1).all()


def test_a_state_dict_brings_its_number_of_classes_and_set_classes_leaves_weights_that_fit() -> None:
    trained = build("cross-entropy")
    fresh = build_objective("cross-entropy", nn.Identity(), dimension=D).double()
    fresh.load_state_dict(trained.state_dict())
    fresh.set_classes(torch.tensor(CLANS))
    assert trained.weight is not None and torch.equal(fresh.weight, trained.weight)
    a, b, _ = views()
    assert torch.equal(fresh(a, b, batch())["loss"], trained(a, b, batch())["loss"])


@pytest.mark.parametrize("parameters", [{"temperature": 0.0}, {"prototypes": "none"}, {"queue": 0}])
def test_wrong_parameters_are_usage_errors(parameters: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        build("cosine-softmax", **parameters)
