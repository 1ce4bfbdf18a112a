"""The dull twin of wrapping and shortening: one letter after another is taken off until the rest fits."""

from __future__ import annotations

from astra_play.display.text import ELLIPSIS, Text


def naive_shorten(text: Text, string: str, size_px: int, width_px: int) -> str:
    if text.width_px(string, size_px) <= width_px:
        return string
    head = string.removesuffix(ELLIPSIS)
    while head and text.width_px(head + ELLIPSIS, size_px) > width_px:
        head = head[:-1]
    return head.rstrip() + ELLIPSIS


def naive_wrap(text: Text, string: str, size_px: int, width_px: int, max_lines: int) -> list[str]:
    lines, words = [], string.split()
    while words:
        line = words.pop(0)
        while words and text.width_px(f"{line} {words[0]}", size_px) <= width_px:
            line = f"{line} {words.pop(0)}"
        num_letters = len(line)
        while num_letters > 1 and text.width_px(line[:num_letters], size_px) > width_px:
            num_letters -= 1
        if num_letters < len(line):
            words.insert(0, line[num_letters:])
        lines.append(line[:num_letters])
    if len(lines) > max_lines:
        lines = [*lines[:max_lines - 1], naive_shorten(text, lines[max_lines - 1] + ELLIPSIS, size_px, width_px)]
    return lines
