"""SVG figures: small, reproducible, and with the correct numbers."""

from __future__ import annotations

import re

from matplotlib.figure import Figure

from phylocli.formats.pictures import figure_as_svg


def drawn() -> str:
    figure = Figure()
    panel = figure.subplots()
    panel.plot([0, 1 / 3, 1], [0.125, 0.1375, 0.175])
    panel.set_yticks([0.125, 0.15625], ["0.125", "0.15625"])
    return figure_as_svg(figure)


def test_coordinates_are_shortened_and_labels_are_not() -> None:
    svg = drawn()
    assert ">0.125<" in svg and ">0.15625<" in svg
    assert not re.search(r'd="[^"]*\.\d{3}', svg) and re.search(r'd="[^"]*\.\d\d', svg)
    assert drawn() == svg
