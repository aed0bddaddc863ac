"""Formatting of numbers in reports."""

from __future__ import annotations


def number(value: float | None) -> str:
    """Format a value with two to four significant digits; `–` for None."""
    if value is None:
        return "–"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}".replace("-", "−")
    digits = 1 if size >= 10 else 2 if size >= 1.005 else 3 if size >= 0.00995 or size < 5e-5 else 4
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def signed(value: float | None) -> str:
    """Format a difference with its sign; `–` for None."""
    return ("+" if value is not None and value > 0 else "") + number(value)


def p_value(value: float | None) -> str:
    """Format a p-value with three digits; `–` for None."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def clip(text: str, width: int) -> str:
    """Truncate a text to at most `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"
