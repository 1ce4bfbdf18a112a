"""How a system keeps the booth's supervisor alive: a systemd unit, a launchd agent, or the words for Windows.

The supervisor restarts the player; the system restarts the supervisor, whose death the player does not outlive.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

SYSTEMD = """\
# Save as ~/.config/systemd/user/astra-play-booth.service, then:
#   systemctl --user daemon-reload && systemctl --user enable --now astra-play-booth
# It starts with the desktop session of this user; let that user log in automatically.

[Unit]
Description=Astra Play booth
PartOf=graphical-session.target
After=graphical-session.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
WorkingDirectory={folder}
# on-failure, not always: the operator's stop is an end without a failure
Restart=on-failure
RestartSec=2
# the supervisor reports ten times a second; one that hangs is killed and started again
WatchdogSec=8
TimeoutStopSec=15

[Install]
WantedBy=graphical-session.target
"""

LAUNCHD = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- Save as ~/Library/LaunchAgents/astra-play-booth.plist, then:
     launchctl bootstrap gui/$(id -u) ~/Library/LaunchAgents/astra-play-booth.plist -->
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
  <key>Label</key><string>astra-play-booth</string>
  <key>ProgramArguments</key><array>{arguments}</array>
  <key>WorkingDirectory</key><string>{folder}</string>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
  <key>ThrottleInterval</key><integer>5</integer>
</dict></plist>
"""

WINDOWS = """\
Task Scheduler, Create Task:
  General   run only when the user is logged on (let that user log on automatically)
  Triggers  at log on
  Actions   start a program: {command}
            start in: {folder}
  Settings  if the task fails, restart every 1 minute; do not stop the task if it runs longer than 3 days
"""


def service_text(profile: Path | None, platform: str = sys.platform, python: str = sys.executable,
                 options: Sequence[str] = ()) -> str:
    """Return what to save or do on a platform (as `sys.platform`) so that a booth with this profile stays up.

    `options`: of the command, besides its profile.
    """
    words = [python, "-m", "astra_play", "kiosk", *(["--profile", str(profile.resolve())] if profile else []),
             *options]
    folder = str(Path.cwd())
    if platform == "darwin":
        arguments = "".join(f"<string>{escape(word)}</string>" for word in words)
        return LAUNCHD.format(arguments=arguments, folder=escape(folder))
    if platform == "win32":
        return WINDOWS.format(command=subprocess.list2cmdline(words), folder=folder)
    return SYSTEMD.format(command=" ".join(map(_systemd_word, words)), folder=folder.replace("%", "%%"))


def _systemd_word(word: str) -> str:
    """Return a word of a unit's command line; there "%" begins a specifier and "$" a variable, in quotes too."""
    escaped = word
    for character, written in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        escaped = escaped.replace(character, written)
    return f'"{escaped}"' if escaped != word or " " in word else word
