"""Which video encoder of this machine makes the recordings, and how it is set up."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

import av

from ..errors import RecordingError

BITS_PER_PIXEL = 0.2  # of the encoders that know no constant quality; generous, since a recording is made once
TRIAL_SIZE = 640, 480


@dataclass(frozen=True)
class Encoder:
    """An encoder and its options; `wants_bit_rate`: it has no constant quality."""

    name: str
    options: dict[str, str] = field(default_factory=dict)
    wants_bit_rate: bool = True

    def set_up(self, context: av.VideoCodecContext, width: int, height: int, fps: int) -> None:
        """Give an unopened codec context everything but its options."""
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.framerate = Fraction(1, fps), Fraction(fps)
        context.gop_size = fps  # a fragment a second: what a killed process loses, and how finely a player can seek
        context.max_b_frames = 0  # pictures in the order of their times, or fragmented files begin late
        context.thread_count = 1  # the other cores are the world's
        # what swscale makes of RGB, said so that a player does not guess by the size
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 6, 1, 1
        if self.wants_bit_rate:
            context.bit_rate = max(1_000_000, round(BITS_PER_PIXEL * width * height * fps))


# The best first. x264 at 18 cannot be told from the original; the lookahead is short, since a kill loses what is in it.
ENCODERS = (
    Encoder("libx264", {"preset": "veryfast", "crf": "18", "rc-lookahead": "8"}, wants_bit_rate=False),
    Encoder("h264_videotoolbox"),
    Encoder("h264_mf"),
    Encoder("h264_nvenc"),
    Encoder("libopenh264"),
    Encoder("mpeg4"),
)


@cache
def choose_encoder() -> Encoder:
    """Return the best encoder that works here; RecordingError if none does."""
    for encoder in ENCODERS:
        if works(encoder):
            return encoder
    raise RecordingError("no video encoder works here, not even mpeg4; install the package av anew: "
                         "pip install --force-reinstall av")


def works(encoder: Encoder) -> bool:
    """Encode one picture: an encoder of the graphics card is known everywhere and opens only where there is one."""
    try:
        context = av.CodecContext.create(encoder.name, "w")
        encoder.set_up(context, *TRIAL_SIZE, fps=10)
        context.options = encoder.options
        picture = av.VideoFrame(*TRIAL_SIZE, "yuv420p")
        picture.pts, picture.time_base = 0, Fraction(1, 10)
        return len(context.encode(picture)) + len(context.encode(None)) > 0
    except (av.error.FFmpegError, ValueError):
        return False
