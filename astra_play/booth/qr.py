"""An address -> the squares of its QR code, through segno, which only booths that show one need."""

from __future__ import annotations

from urllib.parse import quote

from ..errors import DependencyError


def address_of(pattern: str, file_name: str) -> str:
    """Return the address of a file by a profile's pattern."""
    return pattern.replace("{file}", quote(file_name))


def qr_squares(text: str) -> list[list[bool]]:
    """Return the QR code of a text, row by row, True is dark, without its quiet zone.

    DependencyError if segno is not installed.
    """
    try:
        import segno
    except ModuleNotFoundError:
        raise DependencyError("segno", "a QR code", "kiosk") from None
    code = segno.make(text, error="m", micro=False)  # a quarter may be hidden by a reflection, roughly
    return [[bool(square) for square in row] for row in code.matrix]
