"""The window: the only folder that knows pygame. Nothing is imported here, so naming the package stays cheap."""

import os

# pygame greets on stdout when it is imported, which would end up in whatever reads the player's output
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
