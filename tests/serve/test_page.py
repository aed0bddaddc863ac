"""The page of `phylocli serve` in a browser: searches, the map and alignments, as a person uses them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from browser import Browser

import phylocli
from phylocli.formats import Sequence, read_sequences
from phylocli.search import search

HOSTILE = "<img/src=x/onerror=document.title='owned'>"

POINT_OF_A_MYOGLOBIN = """(() => {
  const frame = document.getElementById('map'), inner = frame.contentWindow, canvas = inner.document.getElementById('map');
  frame.scrollIntoView();
  const { left, top } = frame.getBoundingClientRect(), stage = canvas.getBoundingClientRect();
  for (let y = stage.top + 5; y < stage.bottom - 5; y += 3) for (let x = stage.left + 5; x < stage.right - 60; x += 3) {
    canvas.dispatchEvent(new inner.PointerEvent('pointermove', { clientX: x, clientY: y, pointerId: 9 }));
    if (inner.document.getElementById('tip').textContent.startsWith('MYG')) return [left + x, top + y + 6];
  }
})()"""
"""Moves over the map, line by line, until it names a myoglobin, and returns where in the window the middle of that is."""


@pytest.mark.needs("chromium")
def test_a_person_searches_clicks_the_map_aligns_and_pastes(tmp_path: Path, examples: Path) -> None:
    globins = list(read_sequences(examples / "globins.fasta"))[::3]
    sequences = [*globins, Sequence(HOSTILE, globins[0].residues[3:])]
    fasta = tmp_path / "globins.fasta"
    fasta.write_text("".join(f">{s.id} {HOSTILE}\n{s.residues}\n" for s in sequences))
    table = phylocli.load_model("default").embed(sequences)
    hits = search([globins[5]], table, number=5)
    with (
        phylocli.serve(table, sequences=fasta, projection="pca", open=False, title="Globins") as server,
        Browser(tmp_path / "profile") as page,
    ):
        page.open(server.url)
        page.wait("document.documentElement.dataset.ready === 'yes'")
        assert "token" not in page.run("location.href")
        page.wait("document.getElementById('map').contentWindow?.phylocliMap?.onpick")

        def cells(column: int) -> list[str]:
            return page.run(f"[...document.querySelectorAll('tbody tr')].map((row) => row.cells[{column}].textContent)")

        # By name: Enter in the search box lists proteins; one that is chosen shows its neighbours.
        page.run("document.getElementById('text').focus()")
        page.type("hbb")
        page.press("Enter")
        page.wait("document.querySelectorAll('tbody tr').length")
        found = [s.id for s in sequences if "HBB" in s.id]
        assert set(cells(0)) == set(found) and len(found) > 1
        page.run("document.querySelector('tbody a').click()")
        page.wait("document.getElementById('results-title').textContent.startsWith('Neighbours of HBB')")
        assert len(cells(1)) == len(sequences) - 1

        # A click on a point of the map shows the neighbours of its protein, marked on the map.
        x, y = page.run(POINT_OF_A_MYOGLOBIN)
        page.click(x, y)
        page.wait("location.hash.startsWith('#protein=MYG')")
        page.wait("document.getElementById('results-title').textContent.startsWith('Neighbours of MYG')")

        # The first hit aligned with it.
        page.run("document.querySelector('tbody button').click()")
        page.wait("document.querySelectorAll('.block').length")
        assert "identical" in page.run("document.querySelector('.summary').textContent")
        assert page.run("document.querySelectorAll('.block .same').length") > 40
        page.run("document.getElementById('method').value = 'residues'")
        page.run("document.getElementById('method').dispatchEvent(new Event('change'))")
        page.wait("document.getElementById('message').textContent === ''")

        # A pasted sequence has the hits of `phylocli search`.
        page.run("document.getElementById('text').select()")
        page.type(f">{globins[5].id}\n{globins[5].residues}")
        page.run("document.getElementById('number').value = 5")
        page.press("Enter")
        page.wait("document.getElementById('results-title').textContent.startsWith('Hits of')")
        assert cells(1) == hits["target"].to_list()
        assert cells(3) == [f"{cosine:.4f}" for cosine in hits["cosine"]]

        # A sequence with a letter that is no residue has a message, and the page goes on.
        page.run("document.getElementById('text').select()")
        page.type(">bad\nMKV@LA")
        page.press("Enter")
        page.wait("document.getElementById('message').className === 'bad'")
        assert "'@'" in page.run("document.getElementById('message').textContent")

        # A search that fails leaves no hits of the one before, and one that is corrected is made again.
        page.run(f"location.hash = 'protein={globins[0].id}'")
        page.wait("document.querySelectorAll('tbody tr').length === 5")
        for hash, words in (("protein=nosuch", "no protein 'nosuch'"), ("protein=%25E0%25A4%25A", "is not followed")):
            page.run(f"location.hash = decodeURIComponent('{hash}')")
            page.wait(f"document.getElementById('message').textContent.includes({words!r})".replace('"', "`"))
            assert page.run("document.querySelectorAll('tbody tr').length") == 0
            assert page.run("document.getElementById('export').hidden")
            page.run(f"location.hash = 'protein={globins[0].id}'")
            page.wait("document.querySelectorAll('tbody tr').length === 5")
        for number, rows in ((99999, 0), (4, 4)):
            page.run(f"document.getElementById('number').value = {number}")
            page.run("document.getElementById('number').dispatchEvent(new Event('change'))")
            page.wait(f"document.querySelectorAll('tbody tr').length === {rows}")
            told = page.run("document.getElementById('message').textContent")
            assert told == ("The number of hits must be a whole number from 1 to 1000." if not rows else told)

        # Pasted DNA has a note; with the box it is translated.
        page.run("document.getElementById('text').select()")
        page.type("ATGGTGCTGTCTCCTGCCGACAAGACCAACGTCAAGGCCGCCTGG")
        page.press("Enter")
        page.wait("document.getElementById('notes').textContent.includes('looks like nucleotides')")
        page.run("document.getElementById('translate').click()")
        page.wait("document.getElementById('about').textContent.startsWith('15 residues')")
        assert page.run("document.getElementById('notes').textContent") == ""

        # Names from outside are text, and nothing scrolls sideways on a telephone.
        page.run("location.hash = 'find=onerror'")
        page.wait("document.getElementById('results-title').textContent === 'Proteins'")
        assert HOSTILE in cells(0)
        assert page.run("document.title") == "Globins – phylocli" and not page.run("document.images.length")
        page.resize(360, 800)
        page.wait("innerWidth === 360")
        assert page.run("document.documentElement.scrollWidth") <= 360

        # On paper it is light, whatever the screen is, and without controls.
        page.run("document.getElementById('theme').click()")
        background = "getComputedStyle(document.body).backgroundColor"
        assert page.run("document.documentElement.dataset.theme") == "dark" and page.run(background) == "rgb(20, 23, 26)"
        page.call("Emulation.setEmulatedMedia", media="print")
        assert page.run(background) == "rgb(255, 255, 255)"
        assert page.run("getComputedStyle(document.getElementById('ask')).display") == "none"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_the_command_prints_its_address_and_ends_cleanly(
    number: signal.Signals, code: int, tmp_path: Path, examples: Path
) -> None:
    phylocli.load_model("default").embed(examples / "globins.fasta").write(tmp_path / "globins.parquet")
    command = [sys.executable, "-m", "phylocli", "serve", "globins.parquet", "--no-open", "--projection", "pca"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "NO_COLOR": "1"}, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:") and "?token=" in url
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert not rest and "Traceback" not in errors
    assert "stopping" in errors.splitlines()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["globins.parquet"]
