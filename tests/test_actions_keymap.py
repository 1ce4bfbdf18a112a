from pathlib import Path

import pytest

from astra_play.actions import keymap as keymap_module
from astra_play.actions.buttons import MEANINGS
from astra_play.actions.controls import KEY_NAMES, is_button_control
from astra_play.actions.keymap import DEFAULT_TEXT, default_keymap, load_keymap, parse_keymap
from astra_play.errors import ConfigError


def test_default_keymap_reaches_every_button() -> None:
    keymap = default_keymap()
    ends = [end for pair in keymap.sticks.values() for end in pair]
    assert {button for buttons in [*keymap.keys.values(), *ends] for button in buttons} == set(MEANINGS)
    assert {meaning for _, meaning in keymap.help()} == {*MEANINGS.values(), "turn and look"}


def test_help_joins_the_controls_of_one_button() -> None:
    assert ("w, pad left y -", "walk forward") in default_keymap().help()


def test_keymap_limited_to_a_world_forgets_the_other_buttons() -> None:
    limited = default_keymap().limited_to(("forward", "turn_left"))
    assert limited.keys == {"w": ("forward",), "left": ("turn_left",)}
    assert limited.sticks == {"pad left y": (("forward",), ()), "pad right x": (("turn_left",), ())}


def test_first_use_leaves_an_editable_copy_and_the_edit_is_read(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "keymap.toml"
    monkeypatch.setattr(keymap_module, "user_keymap_path", lambda: path)
    assert load_keymap() == default_keymap()
    assert path.read_text(encoding="utf-8") == DEFAULT_TEXT
    path.write_text('[keys]\n"I" = "forward"\n', encoding="utf-8")
    assert load_keymap().keys == {"i": ("forward",)}, "names are read in any case"
    assert load_keymap().sticks == default_keymap().sticks, "a table that is left out keeps its defaults"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_keymap_is_read_as_whatever_editor_wrote_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "keymap.toml").write_text('[keys]\n"i" = "forward"\n', encoding=encoding)
    assert load_keymap(tmp_path / "keymap.toml").keys == {"i": ("forward",)}


def test_folder_that_cannot_be_written_still_plays_with_the_defaults(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(keymap_module, "user_keymap_path", lambda: tmp_path / "file" / "keymap.toml")
    assert load_keymap() == default_keymap()


@pytest.mark.parametrize(("text", "names"), [
    ('[keys]\n"w" = "forwards"', ["my.toml", '"w"', "'forwards'", "did you mean 'forward'"]),
    ('[keys]\n"w" = ["forward", 3]', ['"w"', "3"]),
    ('[keys]\n"left shfit" = "forward"', ["my.toml", '"left shfit"', "did you mean 'left shift'"]),
    ('[keys]\n"pad left x" = "forward"', ["[sticks]"]),
    ('[key]\n"w" = "forward"', ["[key]", "did you mean 'keys'"]),
    ('keys = 3', ["keys", "3"]),
    ('[sticks]\n"pad left z" = ["left", "right"]', ['"pad left z"', "did you mean 'pad left"]),
    ('[sticks]\n"pad left x" = "left"', ['"pad left x"', "two ends"]),
    ('[sticks]\n"pad left x" = ["left", "rigt"]', ["'rigt'", "did you mean 'right'"]),
    ('[mouse]\nsensitivty = 2', ["'sensitivty'", "did you mean 'sensitivity'"]),
    ('[mouse]\nsensitivity = "much"', ["sensitivity", "'much'"]),
    ('[mouse]\nsensitivity = nan', ["sensitivity", "nan"]),
    ('[mouse]\nsensitivity = 1' + 400 * '0', ["sensitivity", "a number"]),
    ('[mouse]\nsensitivity = -1.0', ["-1.0", "invert_y"]),
    ('[mouse]\ninvert_y = 1', ["invert_y", "true or false"]),
    ('[pad]\ndead_zone = 1.0', ["dead_zone", "1.0"]),
    ('[keys\n', ["my.toml", "TOML", "line 1"]),
    ('[keys]\n"w" = "forward"\n"w" = "back"', ["my.toml", "TOML"]),
])
def test_wrong_keymap_is_one_sentence_that_names_the_entry(text: str, names: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_keymap(text, "my.toml")
    message = str(caught.value)
    assert all(name in message for name in names), message
    assert "\n" not in message and len(message) < 400


def test_keymap_file_that_is_missing_or_binary_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no.toml does not exist"):
        load_keymap(tmp_path / "no.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="binary.toml cannot be read"):
        load_keymap(tmp_path / "binary.toml")


def test_table_of_keys_holds_every_name_the_window_library_gives() -> None:
    pygame = pytest.importorskip("pygame")
    names = {pygame.key.name(getattr(pygame, constant)) for constant in dir(pygame) if constant.startswith("K_")}
    unnamed = {"", "AC Back", "CurrencySubUnit"}  # no key, and two keys of phones
    if "f" not in names:
        pygame.display.init()
    assert names - unnamed - KEY_NAMES == set()


def test_letters_of_other_keyboards_are_keys() -> None:
    assert is_button_control("é") and is_button_control("ß")
    assert not is_button_control("É") and not is_button_control(" ") and not is_button_control("éa")


def test_help_tells_what_a_button_does_in_the_world_that_is_played() -> None:
    arm = dict(default_keymap().limited_to(("forward", "up", "grip"), "arm").help())
    assert arm["w, pad left y -"] == "move the hand away" and arm["mouse"] == "move the hand"
    assert arm["e, pad up"] == "lift the hand"
    car = dict(default_keymap().limited_to(("accelerate", "steer_left"), "vehicle").help())
    assert car["w, up, pad right trigger +"] == "accelerate" and car["mouse"] == "steer"
