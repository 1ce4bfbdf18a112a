"""An address -> the squares of its QR code, through segno, which only booths that show one need."""

from __future__ import annotations

from urllib.parse import quote

from ..errors import ConfigError, DependencyError

SHOWN_CHARS = 60  # of an address in an error


def address_of(pattern: str, file_name: str) -> str:
    """Return the address of a file by a profile's pattern."""
    return pattern.replace("{file}", quote(file_name))


def qr_squares(text: str) -> list[list[bool]]:
    """Return the QR code of a text, row by row, True is dark, without its quiet zone.

    DependencyError if segno is not installed, ConfigError for a text that is longer than a code can hold.
    """
    try:
        import segno
    except ModuleNotFoundError:
        raise DependencyError("segno", "a QR code", "kiosk") from None
    try:
        code = segno.make(text, error="m", micro=False)  # a quarter may be hidden by a reflection, roughly
    except segno.DataOverflowError:
        raise ConfigError(f"the address {text[:SHOWN_CHARS]}... has {len(text)} characters, more than a QR code can "
                          "hold; give a shorter save.url") from None
    return [[bool(square) for square in row] for row in code.matrix]
