"""Options of `phylocli reconstruct`."""

from __future__ import annotations

from typing import ClassVar

from phylocli.config._decoding import DecodingConfig
from phylocli.config.types import OnDuplicate


class ReconstructConfig(DecodingConfig):
    """How `phylocli reconstruct` decodes sequences again."""

    table: ClassVar[str] = "reconstruct"

    on_duplicate: OnDuplicate = "error"
