"""The screens around the play: start menu, pause, settings, keys, failure; each is told events, then drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pygame

from ..actions.keymap import Keymap
from ..actions.remap import is_pad
from ..config import WorldConfig
from ..errors import AstraPlayError
from ..paths import DEFAULT_WORLD
from . import theme
from .buttonrow import Button, ButtonRow
from .canvas import Canvas
from .clips import ClipsScreen
from .drop import first_picture
from .hud import TOAST_S
from .listmenu import Line, ListMenu
from .menu import StartMenu
from .navigation import Move
from .padpage import PadScreen
from .recording import open_folder_line, shown_folder
from .screen import ListScreen, StillScreen
from .settings import GUIDANCE_RANGE, SENSITIVITY_RANGE, STEPS_RANGE
from .usage import control_name

if TYPE_CHECKING:
    from .app import App
    from .play import PlayScreen

PLAYER_KEYS = (
    ("Esc", "pause, free the mouse"), ("Backspace", "start again, same seed"), ("N", "new seed"),
    ("P", "photo"), ("R", "record, end recording"), ("F9", "save the last 30 s"),
    ("T", "prompt"), ("[  ]", "guidance down, up"), ("-  =", "steps down, up"),
    ("F1", "figures"), ("F2", "input overlay"), ("F11", "full screen"), ("Drop a picture", "start there"),
)


class MenuScreen(StillScreen):
    """The start menu."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self._asked_until_s = 0.0  # while the question is shown, the next Esc leaves
        self.menu = StartMenu(app.options.catalogue.entries())
        self._buttons = ButtonRow([Button("Clips", "C", self._open_clips),
                                   Button("Settings", "O", lambda: app.push(SettingsScreen(app)))])

    def uncover(self) -> None:
        """Read the worlds again: one may have been copied in meanwhile."""
        super().uncover()
        focus_index = self.menu.focus_index
        self.menu = StartMenu(self._app.options.catalogue.entries())
        self.menu.focus(focus_index)

    def tick(self, now_s: float) -> bool:
        """Whether the menu has to be drawn again: the clip of the card in focus goes on, unless something covers it."""
        return self._app.screens[-1] is self and self.menu.tick(now_s)

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        self._app.redraw()
        if event.type == pygame.MOUSEMOTION:
            self._buttons.point(self._app.window.to_pixels(event.pos))
            self.menu.point(self._app.window.to_pixels(event.pos))
        elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
            at = self._app.window.to_pixels(event.pos)
            if not self._buttons.click(at) and self.menu.point(at):
                self._play()
        elif event.type == pygame.KEYDOWN and event.key == pygame.K_k:
            self._show_keys()
        elif _is_press(event, pygame.K_o, pygame.CONTROLLER_BUTTON_Y):
            self._app.push(SettingsScreen(self._app))
        elif _is_press(event, pygame.K_c, pygame.CONTROLLER_BUTTON_X):
            self._open_clips()
        else:
            self._walk(self._navigator.move(event), "B" if event.type == pygame.CONTROLLERBUTTONDOWN else "Esc")

    def _open_clips(self) -> None:
        self._app.push(ClipsScreen(self._app))

    def _show_keys(self) -> None:
        """Show the keys of the world in focus; of a world that cannot be read, all there are."""
        card, keymap, config = self.menu.focused, self._app.keymap, None
        if card is not None and not card.world.error:
            try:
                config = self._app.options.catalogue.config(card.world.name)
                keymap = keymap.limited_to(config.controls.buttons, config.controls.modality)
            except AstraPlayError as error:  # the world went away while the menu was open
                self._refuse(str(error))
        self._app.push(KeysScreen(self._app, keymap, config))

    def _walk(self, move: Move | None, key: str) -> None:
        if move is Move.ACCEPT:
            self._play()
        elif move is Move.BACK:
            self._leave(key)
        elif move is not None:
            self.menu.move(move)

    def _leave(self, key: str) -> None:
        """Quit on the second press: the first may be one too many on the way out of other pages."""
        now_s = self._app.clock.now()
        if now_s < self._asked_until_s:
            self._app.quit()
        self._asked_until_s = now_s + TOAST_S
        self._app.toasts.show(f"{key} again leaves the player.", now_s)

    def _play(self) -> None:
        card = self.menu.focused
        if card is None:
            return
        if card.world.error:
            self._refuse(card.world.error)
        elif card.start.needs_picture:
            self._refuse(f"{card.world.title} starts from a picture of yours: drop one on this window, or give one "
                         "with --image FILE.")
        else:
            self._app.play(card.world, card.start.picture)

    def start_from(self, paths: Sequence[Path]) -> None:
        """Start the world in focus from the first of some dropped files that is a picture."""
        card = self.menu.focused
        if card is None or card.world.error:
            self._refuse(card.world.error if card else "There is no world to start from this picture.")
            return
        try:
            config = self._app.options.catalogue.config(card.world.name)
            picture, _ = first_picture(paths, config.width, config.height)
        except AstraPlayError as error:
            self._refuse(str(error))
        else:
            self._app.bring_forward(self)
            self._app.play(card.world, picture)

    def _refuse(self, sentence: str) -> None:
        self._app.toasts.show(sentence, self._app.clock.now(), bad=True, seconds=8.0)
        self._app.redraw()

    def draw(self, canvas: Canvas) -> None:
        self.menu.draw(canvas)
        margin = canvas.px(theme.MARGIN)
        self._buttons.draw(canvas, pygame.Rect(margin, margin, canvas.width_px - 2 * margin, 0), from_right=True)


class PauseScreen(ListScreen):
    """Over a paused world. A click beside the panel resumes, as does Esc."""

    def __init__(self, app: App, play: PlayScreen, message: str = "") -> None:
        """`message`: why the play paused by itself."""
        self._play = play
        lines = [
            Line("Resume", app.pop, hint="Esc"),
            Line("Start again", lambda: self._reset(new_seed=False), hint="Backspace"),
            Line("New seed, other start" if play.other_pictures() else "New seed",
                 lambda: self._reset(new_seed=True), hint="N"),
            *([Line("Prompt", self._open_prompt, hint="T")] if play.reads_text else []),
            *play.recording.lines(leave=app.pop),
            Line("Settings", lambda: app.push(SettingsScreen(app))),
            Line("Keys", lambda: app.push(KeysScreen(app, play.keymap, play.config))),
            Line("Back to the menu", app.to_menu),
            Line("Quit", app.quit),
        ]
        super().__init__(app, ListMenu("Paused", lines, message, back=app.pop, width=400))

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        beside = event.type == pygame.MOUSEBUTTONDOWN and event.button == 1 \
            and not self.panel.contains(self._app.window.to_pixels(event.pos))
        started = event.type == pygame.CONTROLLERBUTTONDOWN and event.button == pygame.CONTROLLER_BUTTON_START
        if beside or started:
            self._app.pop()
        else:
            super().handle(event, polled_at_s)

    def _open_prompt(self) -> None:
        self._app.pop()
        self._play.open_prompt()

    def _reset(self, new_seed: bool) -> None:
        self._play.reset(new_seed)
        self._app.pop()


class SettingsScreen(ListScreen):
    """What is remembered between runs; every change is saved at once."""

    def __init__(self, app: App) -> None:
        lines = [
            Line("Full screen", value=lambda: _on(app.window.fullscreen), change=lambda step: app.toggle_fullscreen()),
            Line("Figures", value=lambda: _on(app.settings.hud),
                 change=lambda step: app.change_settings(hud=not app.settings.hud)),
            Line("Input overlay", value=lambda: _on(app.settings.input_overlay),
                 change=lambda step: app.change_settings(input_overlay=not app.settings.input_overlay)),
            Line("Mouse speed", value=lambda: f"{app.settings.mouse_sensitivity:.1f}", change=self._change_mouse),
            Line("Guidance", value=lambda: _own(app.settings.guidance, "{:.2f}"), change=self._change_guidance),
            Line("Denoise steps", value=lambda: _own(app.settings.steps, "{}"), change=self._change_steps),
            Line("Keys and gamepad", lambda: open_pad_page(app)),
            Line("Controls in videos", value=lambda: _on(app.settings.controls_in_video),
                 change=lambda step: app.change_settings(controls_in_video=not app.settings.controls_in_video)),
            Line("Recordings", lambda: open_folder_line(app), value=lambda: shown_folder(app.settings)),
            Line("Done", app.pop, hint="Esc"),
        ]
        super().__init__(app, ListMenu("Settings", lines, back=app.pop, width=520,
                                       footer="Guidance below 0 or steps below 1 bring back the world's own."))

    def _change_mouse(self, step: int) -> None:
        low, high = SENSITIVITY_RANGE
        value = round(self._app.settings.mouse_sensitivity + 0.1 * step, 1)
        self._app.change_settings(mouse_sensitivity=min(max(value, low), high))

    def _change_guidance(self, step: int) -> None:
        self._app.change_settings(guidance=_stepped(self._app.settings.guidance, 0.25 * step, GUIDANCE_RANGE))

    def _change_steps(self, step: int) -> None:
        self._app.change_settings(steps=_stepped(self._app.settings.steps, step, STEPS_RANGE))


class FailureScreen(ListScreen):
    """The sentence of the first failure, and the ways out."""

    see_through = False

    def __init__(self, app: App, sentence: str, retry: Line | None) -> None:
        lines = [*([retry] if retry else []), Line("Back to the menu", app.to_menu), Line("Quit", app.quit)]
        super().__init__(app, ListMenu("This did not work", lines, message=sentence, back=app.to_menu, width=640))

    def draw(self, canvas: Canvas) -> None:
        canvas.surface.fill(theme.BACKGROUND)
        self.panel.draw(canvas)


class KeysScreen(StillScreen):
    """What every key does: the world's from the keymap, the player's own beside them."""

    see_through = True

    def __init__(self, app: App, keymap: Keymap, config: WorldConfig | None = None) -> None:
        """`config`: of the world that the keys are shown for; None for all the keys that there are."""
        super().__init__(app)
        self._columns = (("In the world" if config is None else config.title, world_keys(keymap)),
                         ("The player", player_keys(config, _num_starts(app, config))))

    def handle(self, event: pygame.Event, polled_at_s: float) -> None:
        clicked = event.type == pygame.MOUSEBUTTONDOWN and event.button == 1
        leave = event.type == pygame.KEYDOWN and event.key == pygame.K_k
        if clicked or leave or self._navigator.move(event) in (Move.BACK, Move.ACCEPT):
            self._app.pop()

    def draw(self, canvas: Canvas) -> None:
        canvas.shade(150)
        px = canvas.px
        row_height = px(30)
        num_rows = max(len(rows) for _, rows in self._columns)
        box = pygame.Rect(0, 0, min(px(1120), canvas.width_px - px(40)), px(144) + num_rows * row_height)
        box.center = canvas.box.center
        canvas.panel(box, theme.PANEL, alpha=245, border=theme.LINE, radius=10)
        half = (box.width - px(90)) // 2
        for index, (title, rows) in enumerate(self._columns):
            x, y = box.left + px(30) + index * (half + px(30)), box.top + px(26)
            heading = canvas.heading(title, (x, y))
            self._draw_rows(canvas, rows, x, heading.bottom + px(24), half, row_height)
        canvas.hints((("Esc", "close"),), (box.left + px(30), box.bottom - px(44)))

    def _draw_rows(self, canvas: Canvas, rows: list[tuple[str, str]], x: int, y: int, width_px: int,
                   row_height: int) -> None:
        keys_width = round(width_px * 0.56)
        for keys, meaning in rows:
            canvas.write(keys, (x, y), theme.SMALL, theme.ACCENT, width_px=keys_width - canvas.px(12))
            canvas.write(meaning, (x + keys_width, y), theme.SMALL, theme.TEXT, width_px=width_px - keys_width)
            y += row_height


def _is_press(event: pygame.Event, key: int, pad_button: int) -> bool:
    return (event.type == pygame.KEYDOWN and event.key == key) \
        or (event.type == pygame.CONTROLLERBUTTONDOWN and event.button == pad_button)


def open_pad_page(app: App) -> None:
    """Open the page for the buttons of the world that is played, or that has the focus in the menu."""
    if app.play_screen is not None:
        config = app.play_screen.config
    else:
        menu = next((screen for screen in app.screens if isinstance(screen, MenuScreen)), None)
        card = menu.menu.focused if menu is not None else None
        name = card.world.name if card is not None and not card.world.error else DEFAULT_WORLD
        try:
            config = app.options.catalogue.config(name)
        except AstraPlayError as error:
            app.toasts.show(str(error), app.clock.now(), bad=True)
            return
    app.push(PadScreen(app, config.title, config.controls))


def world_keys(keymap: Keymap) -> list[tuple[str, str]]:
    """Return the keymap's help with every control as it is called on screen, a pad's letters apart from the keys'."""
    def shown(control: str) -> str:
        name = control_name(control)
        return f"Pad {name}" if is_pad(control) and len(name) == 1 else name

    return [(", ".join(shown(control) for control in controls.split(", ")), meaning)
            for controls, meaning in keymap.help()]


def player_keys(config: WorldConfig | None, num_starts: int) -> list[tuple[str, str]]:
    """Return the player's own keys without those that do nothing in a world; None: all of them.

    `num_starts`: how many start pictures it has.
    """
    idle = set()
    if config is not None:
        idle |= {"T"} if config.model.text_dim == 0 else set()
        idle |= {"[  ]"} if config.stream.max_guidance == 1 else set()
    return [(keys, "new seed, other start" if keys == "N" and num_starts > 1 else meaning)
            for keys, meaning in PLAYER_KEYS if keys not in idle]


def _num_starts(app: App, config: WorldConfig | None) -> int:
    return 0 if config is None else len(app.options.catalogue.start_pictures(config))


def _on(value: bool) -> str:
    return "on" if value else "off"


def _own(value: float | None, form: str) -> str:
    return "the world's own" if value is None else form.format(value)


def _stepped(value: float | None, step: float, limits: tuple[float, float]) -> float | None:
    """Step a value that has an 'own' below its least: None, least, ..., most."""
    low, high = limits
    if value is None:
        return max(low, type(low)(1)) if step > 0 else None  # 1 is where a player starts: guidance off, one step
    value += step
    return None if value < low else min(value, high)
