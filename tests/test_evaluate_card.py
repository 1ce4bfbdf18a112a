"""The model card's tables of scores: made from the figures of `evaluate`, and those of the shipped card are the shipped
ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from astra_play.config import load_world_config
from astra_play.errors import ConfigError
from astra_play.evaluate import card
from astra_play.paths import checkout_folder, weights_folder

SCENARIOS = "explore", "drive", "arm"
FIGURES = [checkout_folder() / "assets" / "evaluation" / f"mini_{name}.json" for name in SCENARIOS]


def results() -> list[dict]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in FIGURES]


def titles() -> dict[str, str]:
    return {name: load_world_config(weights_folder() / "mini", name).title for name in SCENARIOS}


def test_the_shipped_card_says_what_was_measured() -> None:
    shipped = (weights_folder() / "mini" / "README.md").read_text(encoding="utf-8")
    assert card.with_scores(shipped, results(), titles()) == shipped


def test_tables_take_the_place_of_older_ones_and_the_cards_words_stay() -> None:
    before = f"# A card\n\n{card.BEGIN}old figures\n{card.END}\n\nAnd words.\n"
    text = card.with_scores(before, results(), titles())
    assert text.startswith("# A card\n") and text.endswith("\n\nAnd words.\n") and "old figures" not in text
    assert card.with_scores(text, results(), titles()) == text
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    assert headings == [f"### {titles()[name]} ({name})" for name in SCENARIOS]
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| measured" not in line]
    assert len(rows) > 40 and all(row.count(" | ") == 2 for row in rows)


def test_bars_are_said_and_so_is_one_that_is_missed() -> None:
    [explore, *_] = results()
    figures = explore["scenarios"]["explore"]
    for bar in figures["bars"]:
        bar["met"] = bar["name"] != "yaw_left_rad_correlation"
    text = card.with_scores(card.BEGIN + card.END, [explore], titles())
    [yaw] = [line for line in text.splitlines() if line.startswith("| `yaw_left_rad`")]
    measured = figures["following"]["generated"]["yaw_left_rad"]["correlation"]
    assert f"| {measured:.3f} (true frames " in yaw and yaw.endswith("| at least 0.95: missed |")
    [worst] = [line for line in text.splitlines() if "sharpness against real frames" in line]
    assert worst.endswith(f"| {figures['drift']['sharpness']['worst']:.2f} | 0.6 to 1.4 |")


def test_a_revisit_without_another_place_is_told_without_it() -> None:
    [explore, *_] = results()
    explore["scenarios"]["explore"]["revisit"]["other_places"] = None
    assert "some other place" not in card.with_scores(card.BEGIN + card.END, [explore], titles())


@pytest.mark.parametrize("text", ["# A card\n", card.BEGIN + "no end", card.END])
def test_a_card_without_a_place_for_scores_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no place for scores"):
        card.with_scores(text, results(), titles())


def test_command_rewrites_the_card(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "config.json").write_bytes((weights_folder() / "mini" / "config.json").read_bytes())
    own = tmp_path / "README.md"
    own.write_text(f"Words.\n{card.BEGIN}{card.END}\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["card", str(own), *map(str, FIGURES)])
    card.main()
    assert own.read_text(encoding="utf-8") == card.with_scores(f"Words.\n{card.BEGIN}{card.END}\n", results(), titles())
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
