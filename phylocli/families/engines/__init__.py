"""Engines that group sequences, one per file, each with `group(pool, settings, executor) -> list[Group]`."""
