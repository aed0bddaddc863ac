"""How sequences are grouped: one engine a file, each with `group(pool, settings, executor) -> list[Group]`."""
