"""Families of one's own sequences: unlabelled sequences grouped by homology, domain by domain."""

from __future__ import annotations

from phylocli.families.find import Families, Member, find_families

__all__ = ["Families", "Member", "find_families"]
