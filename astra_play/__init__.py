"""Astra Play: a generated world that answers keyboard and mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model.loading import load_world
    from .model.world import World

__version__ = "0.1.0"
__all__ = ["World", "__version__", "load_world"]


def __getattr__(name: str) -> Any:
    """Load `load_world` and `World` on first use, so that `import astra_play` stays free of torch."""
    if name in ("World", "load_world"):
        from .model import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
