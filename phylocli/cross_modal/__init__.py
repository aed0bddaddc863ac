"""What models of several modalities are for: classes that are described in words, and search across modalities."""

from __future__ import annotations

from phylocli.cross_modal.classification import NONE, classify, classify_file
from phylocli.cross_modal.retrieval import search_across, search_across_file

__all__ = ["NONE", "classify", "classify_file", "search_across", "search_across_file"]
