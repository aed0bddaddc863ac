"""Show versions, devices, and optional engines: found, or how to install them."""

from __future__ import annotations

EXAMPLES = ["phylocli doctor"]


def command() -> None:
    """Show versions, devices, and optional engines: found, or how to install them."""
    from phylocli import console

    console.info("ok")
