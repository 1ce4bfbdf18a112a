import random
from pathlib import Path

import pytest

from astra_play.actions.script import GOOD_LINE, PRESS_S, load_script, parse_script
from astra_play.chunks import InputEvent
from astra_play.errors import ScriptError


def test_lines_of_every_kind_are_read_and_sorted_by_time() -> None:
    text = """
        {"t": 1.0, "mouse": [12, -3]}
        {"t": 0.5, "key": "w", "down": true}
        {"t": 0.5, "key": "W", "down": false}
        {"t": 2, "button": "mouse left", "down": true}
        {"t": 3, "press": "f1"}
        {"t": 4, "axis": "pad left x", "value": -0.5}
    """
    assert parse_script(text) == [
        InputEvent("button", "w", down=True, time_s=0.5),
        InputEvent("button", "w", down=False, time_s=0.5),
        InputEvent("motion", motion_px=(12.0, -3.0), time_s=1.0),
        InputEvent("button", "mouse left", down=True, time_s=2.0),
        InputEvent("button", "f1", down=True, time_s=3.0),
        InputEvent("button", "f1", down=False, time_s=3.0 + PRESS_S),
        InputEvent("axis", "pad left x", value=-0.5, time_s=4.0),
    ]


def test_empty_file_is_a_script_without_events(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n  \n")
    assert load_script(tmp_path / "empty.jsonl") == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_script_is_read_as_whatever_editor_wrote_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "walk.jsonl").write_text(GOOD_LINE, encoding=encoding)
    assert load_script(tmp_path / "walk.jsonl") == parse_script(GOOD_LINE)


def test_the_good_line_of_the_errors_is_good() -> None:
    assert len(parse_script(GOOD_LINE)) == 1


@pytest.mark.parametrize(("line", "says"), [
    ("walk please", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[1, 2]", "not an event"),
    ('"w"', "not an event"),
    ("{}", "none of key"),
    ('{"t": 1}', "none of key"),
    ('{"key": "w", "down": true}', "lacks t"),
    ('{"t": -0.1, "key": "w", "down": true}', "-0.1"),
    ('{"t": NaN, "key": "w", "down": true}', "t is nan"),
    ('{"t": Infinity, "mouse": [1, 2]}', "t is inf"),
    ('{"t": 1' + 400 * "0" + ', "key": "w", "down": true}', "finite"),
    ('{"t": 1' + 5000 * "0" + ', "key": "w", "down": true}', "not JSON"),
    ('{"t": "1", "key": "w", "down": true}', "t is '1'"),
    ('{"t": true, "key": "w", "down": true}', "t is True"),
    ('{"t": 1, "key": "w"}', "lacks down"),
    ('{"t": 1, "key": "w", "down": 1}', "down is 1"),
    ('{"t": 1, "key": "spcae", "down": true}', "did you mean 'space'"),
    ('{"t": 1, "key": 7, "down": true}', "7"),
    ('{"t": 1, "key": "w", "dwn": true}', "did you mean 'down'"),
    ('{"t": 1, "key": "w", "down": true, "mouse": [1, 2]}', "'mouse' does not belong"),
    ('{"t": 1, "mouse": [1]}', "mouse is [1]"),
    ('{"t": 1, "mouse": [1, NaN]}', "mouse is"),
    ('{"t": 1, "axis": "pad left q", "value": 0}', "did you mean 'pad left"),
    ('{"t": 1, "axis": "pad left x", "value": 2}', "between -1 and 1"),
    ('{"t": 1, "axis": ["pad left x"], "value": 1}', "not the name of a pad axis"),
])
def test_nonsense_is_one_sentence_with_file_line_and_a_good_line(line: str, says: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse_script(GOOD_LINE + "\n" + line, "walk.jsonl")
    message = str(caught.value)
    assert message.startswith("walk.jsonl, line 2: ") and says in message and GOOD_LINE in message
    assert "\n" not in message and len(message) < 300


def test_script_that_is_missing_or_binary_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="no.jsonl does not exist"):
        load_script(tmp_path / "no.jsonl")
    (tmp_path / "movie.mp4").write_bytes(bytes(range(256)))
    with pytest.raises(ScriptError, match="movie.mp4 cannot be read as text"):
        load_script(tmp_path / "movie.mp4")


def test_random_damage_never_raises_anything_but_a_script_error() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        line = list(rng.choice([GOOD_LINE, '{"t": 1.0, "mouse": [12, 0]}', '{"t": 1, "axis": "pad left x", "value": 1}',
                                '{"t": 3, "press": "f1"}']))
        for _ in range(rng.randrange(1, 4)):
            line[rng.randrange(len(line))] = chr(rng.choice([34, 44, 45, 46, 48, 57, 91, 93, 101, 123, 125, 955]))
        try:
            parse_script("".join(line))
        except ScriptError:
            pass
