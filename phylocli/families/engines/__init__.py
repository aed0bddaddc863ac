"""Engines that group sequences into families, one per module, each with `group(pool, settings, executor) -> list[Group]`."""
