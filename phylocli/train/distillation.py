"""The losses of distillation: the student's vectors against the teachers', beside the objective."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from phylocli.config.train import DistillationConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.plugins import OBJECTIVES
from phylocli.critics import build_critic
from phylocli.models.heads import divergence
from phylocli.models.model import Model
from phylocli.objectives import Batch, Requirements, build_objective, requirements_of
from phylocli.train.data.teachers import RESIDUES, VECTOR, Teacher, TeacherBatch

REGRESSION = "embedding-regression"
"""The loss of residue vectors."""

Terms = dict[str, Tensor]


class TeacherLoss(nn.Module):
    """A loss between the student's and one teacher's vectors, which are first mapped linearly as the loss requires.

    Args:
        name: of an objective that compares two vectors.
        student, teacher: features of their vectors.
        config: what is distilled.

    Raises:
        UsageError: no such objective, or one that needs more than two vectors.
    """

    def __init__(self, name: str, student: int, teacher: int, config: DistillationConfig) -> None:
        super().__init__()
        maps: Literal["both", "student", "none"] = getattr(OBJECTIVES.load(name), "MAPS", "both")
        common = {"both": config.dimension, "student": teacher, "none": student}[maps]
        self.of_student = nn.Identity() if maps == "none" else nn.Linear(student, common)
        self.of_teacher = nn.Linear(teacher, common) if maps == "both" else nn.Identity()
        critic = build_critic("cosine", common, {"temperature": config.temperature})
        self.objective = build_objective(name, critic, config.parameters.get(name), dimension=common, features=common)
        needs = requirements_of(self.objective)
        if needs not in (Requirements(), Requirements(negatives=False)):
            raise UsageError(
                f"the objective {name!r} cannot compare a student with a teacher, because it needs more than two vectors",
                fix="use crd, embedding-regression or similarity-distillation",
            )

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> Terms:
        """Return the terms of the objective, from a (N, student) and b (N, teacher)."""
        terms: Terms = self.objective(self.of_student(a), self.of_teacher(b), batch)
        return terms

    def after_step(self) -> None:
        """Call the objective's `after_step`."""
        after_step = getattr(self.objective, "after_step", None)
        if callable(after_step):
            after_step()


class Distillation(nn.Module):
    """All losses of distillation. With several teachers, each has losses and maps of its own, and a loss is their mean.

    Args:
        config: what is distilled.
        teachers: the teachers.
        model: the student.
    """

    fingerprints: Tensor

    def __init__(self, config: DistillationConfig, teachers: Sequence[Teacher], model: Model) -> None:
        super().__init__()
        self.weights, self.head_weights, self.residue_weight = config.losses, config.head_weights, config.residues
        features, channels = model.dimension, int(model.encoder.dimension)
        self.of_vectors = nn.ModuleList(
            nn.ModuleDict({name: TeacherLoss(name, features, teacher.width(VECTOR), config) for name in config.losses})
            for teacher in teachers
        )
        self.of_residues = nn.ModuleDict(
            {
                str(k): TeacherLoss(REGRESSION, channels, teacher.width(RESIDUES), config)
                for k, teacher in enumerate(teachers)
                if teacher.width(RESIDUES)
            }
        )
        self.names = [teacher.name for teacher in teachers]
        digests = b"".join(hashlib.sha256(teacher.fingerprint.encode()).digest() for teacher in teachers)
        self.register_buffer("fingerprints", torch.tensor(list(digests), dtype=torch.uint8).view(len(teachers), -1))
        self.compares_residues = bool(self.residue_weight or self.head_weights)

    def forward(
        self, vectors: Tensor, residues: Tensor | None, mask: Tensor | None, taught: TeacherBatch, batch: Batch, model: Model
    ) -> tuple[Tensor, Terms]:
        """Return the weighted sum of all losses, and the named terms.

        Args:
            vectors: the student's, (V, D), of the sequences of `taught`, or of the first V of them.
            residues, mask: the student's residue vectors (V, L, F) and their mask (V, L), if residues are compared.
            taught: the teachers' vectors.
            batch: family and clan of the V sequences.
            model: the student, for its heads.
        """
        device, found = vectors.device, dict[str, list[Tensor]]()
        for teacher, losses in zip(taught.vectors, self.of_vectors, strict=True):
            target = torch.from_numpy(teacher[: len(vectors)]).to(device, non_blocking=True)
            for name, loss in losses.items():  # type: ignore[operator]
                for term, value in loss(vectors, target.to(vectors.dtype), batch).items():
                    found.setdefault(f"{name}_{term}", []).append(value)
        if residues is not None and mask is not None:
            for term, value in self._of_residues(residues, mask, taught, model):
                found.setdefault(term, []).append(value)
        terms = {name: torch.stack(values).mean() for name, values in found.items()}
        weights = {f"{name}_loss": weight for name, weight in self.weights.items()}
        weights |= {f"teacher_{head}_loss": weight for head, weight in self.head_weights.items()}
        weights["residues_loss"] = self.residue_weight
        total = sum((weights[name] * value for name, value in terms.items() if name in weights), vectors.new_zeros(()))
        return total, {name: value.detach() for name, value in terms.items()}

    def _of_residues(self, residues: Tensor, mask: Tensor, taught: TeacherBatch, model: Model) -> list[tuple[str, Tensor]]:
        chosen = np.flatnonzero(taught.sequences < len(residues)).tolist()
        if not chosen:
            return []
        at = torch.from_numpy(taught.sequences[chosen]).to(residues.device)
        residues, mask = residues[at], mask[at]
        flat, found = residues[mask], []
        nothing = Batch.of_families(torch.zeros(len(flat), dtype=torch.int64, device=flat.device))
        for k, rows in enumerate(taught.residues):
            targets = {
                track: torch.from_numpy(np.concatenate([rows[i][track] for i in chosen])).to(flat) for track in rows[0]
            }
            if str(k) in self.of_residues:
                found.append(("residues_loss", self.of_residues[str(k)](flat, targets[RESIDUES], nothing)["loss"]))
            for head in self.head_weights.keys() & targets.keys():
                logits = model.predict_residues(head, residues, mask)[mask]
                found.append((f"teacher_{head}_loss", divergence(logits, targets[head])))
        return found

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Load the state of a checkpoint.

        Raises:
            BadInputError: it was trained with other teachers.
        """
        before = state_dict.get(f"{prefix}fingerprints")
        if before is not None and before.shape == self.fingerprints.shape:
            changed = (before.to(self.fingerprints.device) != self.fingerprints).any(1).tolist()
            if any(changed):
                raise BadInputError(
                    f"the teacher {self.names[changed.index(True)]} has changed since the run was started",
                    why="a run learns from one teacher",
                    fix="restore it, or start a new run",
                )
        super()._load_from_state_dict(state_dict, prefix, *others)

    def after_step(self) -> None:
        """Call `after_step` of all losses; called after each optimiser step."""
        for part in self.modules():
            if isinstance(part, TeacherLoss):
                part.after_step()
