"""Teachers: models, or tables of embeddings, whose vectors the encoder learns to agree with.

A teacher reads each training sequence once, as a whole. Its vectors are kept on disk, in the cache of compiled families, by
the teacher's fingerprint and the sequence, so later runs on the same or on other families compute what is missing only.
"""

from __future__ import annotations

from phylocli.train.data.teachers.sources import RESIDUES, VECTOR, Teacher, open_teachers
from phylocli.train.data.teachers.targets import TeacherBatch, TeacherTargets, load_targets

__all__ = ["RESIDUES", "VECTOR", "Teacher", "TeacherBatch", "TeacherTargets", "load_targets", "open_teachers"]
