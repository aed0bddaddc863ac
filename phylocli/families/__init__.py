"""Homologous families from unlabelled sequences."""

from __future__ import annotations

from phylocli.families.find import Families, Member, find_families

__all__ = ["Families", "Member", "find_families"]
