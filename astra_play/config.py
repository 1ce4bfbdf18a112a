"""Frozen dataclasses <-> JSON: every fact of a world (network, codec, stream, controls) travels in its config.json.

A config is complete and typed: each field is written out, an unknown or misspelt name is an error that names the
nearest known one, and a value of the wrong type is an error that shows it.
"""

from __future__ import annotations

import codecs
import dataclasses
import functools
import json
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from .contradictions import first_contradiction
from .errors import ConfigError, did_you_mean

T = TypeVar("T")

MAX_THREADS = 1024  # compute threads that may be asked for; torch starts as many as it is told, and dies of too many


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the denoising transformer. The mini world and the 1.3B Astra are two values of this class."""

    dim: int
    ffn_dim: int
    num_heads: int
    num_layers: int
    latent_channels: int
    grid_height: int  # of the latent grid the world was trained at, before patches
    grid_width: int
    patch_size: tuple[int, int, int] = (1, 2, 2)
    freq_dim: int = 256  # width of the sinusoid that encodes sigma
    text_dim: int = 0  # 0: no text cross-attention
    eps: float = 1e-6
    history: Literal["kv_cache", "framepack"] = "kv_cache"
    prediction: Literal["velocity", "clean"] = "velocity"  # what the head's numbers mean; forward() returns velocity
    # What is given beside the noisy latents and added to a "clean" prediction: nothing, the last clean latent frame,
    # or that frame moved as the action row commands (model/anchor.py).
    anchor: Literal["none", "previous", "moved"] = "none"
    anchor_coverage: bool = False  # "moved" only: beside it, how much of each latent cell was truly seen before
    # "moved" only: how many other places besides the anchor's the network may say that things come from (near by, too
    # far to come nearer, along with the hand: model/anchor.py), and into how many blocks a side each latent cell is
    # cut, for each of which it says so.
    hypotheses: int = 0
    hypothesis_blocks: int = 4
    modalities: dict[str, int] = field(default_factory=lambda: {"camera": 13})  # row width, mask column included
    action_mean: dict[str, list[float]] = field(default_factory=dict)  # subtracted from rows, per modality
    action_std: dict[str, list[float]] = field(default_factory=dict)  # divides rows, per modality
    action_dim: int = 25  # width that every modality is projected to
    num_experts: int = 3
    router: Literal["fixed", "learned"] = "fixed"
    router_top_k: int = 1
    fixed_experts: dict[str, int] = field(default_factory=lambda: {"camera": 0, "vehicle": 1, "arm": 2})
    expert_hidden: int = 0  # 0: an expert is one linear layer, else an MLP with this hidden width
    # How actions reach the tokens of a block: the experts' output added before self-attention and one linear layer
    # after it (ACT-Adapter), or cross-attention to action tokens after it, with which the paper compares that.
    adapter: Literal["act", "cross_attention"] = "act"

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    @property
    def tokens_per_latent_frame(self) -> int:
        return (self.grid_height // self.patch_size[1]) * (self.grid_width // self.patch_size[2])


@dataclass(frozen=True)
class StreamConfig:
    """How a world is generated chunk by chunk: the context window, the noise levels, the guidance."""

    latent_frames_per_chunk: int = 1
    sink_chunks: int = 0  # first chunks of the session, never evicted
    ring_chunks: int = 12  # most recent chunks
    context_sigma: float = 0.0  # noise given to committed context
    sigmas: tuple[float, ...] = (1.0, 0.0)  # descending, ends in 0; one denoise step per interval
    step_sigmas: dict[str, list[float]] = field(default_factory=dict)  # other step counts -> their schedules
    shift: float = 1.0  # bend of a schedule computed for a step count that is not listed
    solver: Literal["euler", "unipc", "dpmpp"] = "euler"  # how the steps are walked (model/solvers.py)
    guidance_scale: float = 1.0
    # The largest scale that a player is offered; 0 sets no limit. Weights that rarely saw a hidden action cannot tell
    # what a world without it would be, and break when they are driven away from that.
    max_guidance: float = 0.0
    # Mean squared correction of a latent cell at which half of the correction to the anchor is applied; 0 applies all.
    # A network that is unsure corrects every cell a little towards the mean of all pictures, and a picture that is
    # corrected so 16 times a second fades; what it is sure of is a large correction, and passes.
    correction_gate: float = 0.0
    # The power to which the shares of the anchor's hypotheses are raised, and made to add up to 1 again. Shares are
    # soft where the network is unsure, and what is half moved at every frame is smeared within a second; a power above
    # 1 makes it decide.
    share_power: float = 1.0
    # How strongly every latent frame is drawn to the palette of the first one since reset, channel by channel: the
    # share of the way that its mean moves, and the power of the ratio of deviations by which its contrast is stretched.
    # At one small step a frame, what fades comes back within a second or two, and a wall may still fill the view.
    colour_hold: float = 0.0
    contrast_hold: float = 0.0
    # Share of a carried picture's detail, beyond what its latents say, that fades with every frame ("moved" anchor).
    detail_leak: float = 0.05
    # Share of the loop filter's changes that is made, where the codec has one; 0 goes without it. A camera that never
    # moves shows nothing new, so there a filter could only spoil something.
    filter_strength: float = 1.0
    # What draws new latents over a carried picture: the codec's decoder, or the encoder's mirror ("patches"), which is
    # what the network was trained with and costs next to nothing. Its patches show edges, so it is for worlds that a
    # loop filter cleans up, and for those where little is ever painted. "auto": patches where a filter is at work.
    painter: Literal["auto", "decoder", "patches"] = "auto"
    # Metres of walking after which the surroundings out of view are forgotten by two thirds; 0 remembers none. Needs a
    # network that is told what was seen before (anchor_coverage).
    memory_fade_m: float = 0.0
    # Metres that a place reaches as which the start picture is set up in depth (model/place.py), in place of carrying a
    # picture on; 0 sets up none. Needs a codec that finds distances; for a camera that goes about.
    place_reach_m: float = 0.0
    # "framepack" worlds only: sigma from which on the keys and values of the past are kept for the chunk's remaining
    # denoise steps. An approximation, since the past is modulated by the target's sigma and sees the noisy target:
    # 1 makes them once, at the first step; 0 makes them anew at every step, which is exact.
    framepack_cache_sigma: float = 0.0

    def offered_guidance(self, wanted: float | None) -> float | None:
        """The guidance scale that a player's wish comes to in this world; None, its own, stays None.

        Where 1 is the most there is none at all, below 1 as little as above.
        """
        if wanted is None or not self.max_guidance:
            return wanted
        return 1.0 if self.max_guidance == 1 else min(wanted, self.max_guidance)


@dataclass(frozen=True)
class CodecConfig:
    """Compression factors and widths of the autoencoder."""

    kind: Literal["mini", "wan_vae", "taehv"] = "mini"
    latent_channels: int = 32
    spatial_compression: int = 16
    frames_per_latent: int = 1
    decoder_width: int = 128  # "mini" only
    decoder_blocks: int = 2  # "mini" only
    hand_width: int = 0  # "mini" only: of the network that cuts a robot's hand out of a picture; 0: there is none
    shadow_width: int = 0  # "mini" only: of the network that finds that hand's shadow on the table; 0: there is none
    tabletop_width: int = 0  # "mini" only: of the one that finds that hand's fingers and blocks in it; 0: there is none
    table_width: int = 0  # "mini" only: of the one that says how the table looks behind all of that; 0: there is none
    arm_width: int = 0  # "mini" only: of the one that draws the arm that this hand is on, and its shadow; 0: none
    distances_width: int = 0  # "mini" only: of the one that finds how far away everything is; 0: there is none
    loop_filter_width: int = 0  # "mini" only: of the network that cleans up every picture that is carried on; 0: none
    upscaler_width: int = 0  # "mini" only: of the network that draws shown pictures twice as large; 0: as they are
    base_width: int = 0  # "wan_vae" and "taehv" only: channels at full resolution; 0: the published 96 and 64

    @property
    def shown_factor(self) -> int:
        """How many times larger than the world's own pictures the shown ones are."""
        return 2 if self.upscaler_width else 1


@dataclass(frozen=True)
class ControlsConfig:
    """What the buttons and the mouse of a world mean, in units."""

    modality: Literal["camera", "vehicle", "arm"] = "camera"
    buttons: tuple[str, ...] = ("forward", "back", "left", "right", "turn_left", "turn_right", "look_up", "look_down")
    move_m_s: float = 3.0
    turn_deg_s: float = 75.0
    mouse_deg_per_px: float = 0.12
    mouse_m_per_px: float = 0.0005  # of a hand that the mouse moves
    max_move_m_per_frame: float = 0.03  # of that hand, the fastest seen in training
    # Two opposite corners of the box that the hand stays in: least (right, away, up), then greatest; () is no limit.
    reach_m: tuple[float, ...] = ()
    max_turn_deg_per_frame: float = 12.0  # the fastest turn seen in training
    # The axes in which a step is taken while the view turns: those the walker had before, or those of the view after
    # the turn, as in the presets of the published checkpoint (actions/rows.py).
    move_axes: Literal["before_turn", "after_turn"] = "before_turn"
    max_pitch_deg: float = 25.7  # how far from level the training camera ever looked, up or down
    vertical_fov_deg: float = 60.0  # of the camera that made the training pictures
    eye_height_m: float = 1.6  # of that camera over the ground
    scene_depth_m: float = 12.0  # how far away things (of an arm: its hand) are taken to be by the "moved" anchor
    other_depths_m: tuple[float, ...] = ()  # of the hypotheses beside it; 0: what only turns and never comes nearer
    camera_lift_deg: float = 36.5  # how steeply the camera looks down upon the hand
    finger_stroke_m: float = 0.0  # from closed to open, of each of its two fingers; 0: they are not told to move
    finger_m_per_frame: float = 0.0125  # how fast they close and open
    # What of the player's own car is in view and moves with it: a parabola on the bottom edge, its height as a share of
    # the picture's and its half width at the edge as a share of half the picture's; (0, 0) is none.
    bonnet: tuple[float, float] = (0.0, 0.0)

    def bonnet_top(self, x: Any) -> Any:
        """Where the bonnet begins in columns x (a tensor or an array) of a picture, both in [-1, 1] from the upper edge
        down; below the picture where it does not."""
        height, half_width = self.bonnet
        return 1 - 2 * height * (1 - (x / half_width)**2) if height else 0 * x + math.inf

    def is_bonnet(self, x: Any, y: Any) -> Any:
        """Whether it hides what is there, x and y from -1 to 1 across and down."""
        return y > self.bonnet_top(x)


@dataclass(frozen=True)
class ScenarioConfig:
    """One of the kinds of play that a set of weights was trained on."""

    title: str
    description: str
    controls: ControlsConfig
    # Settings of the world's stream that differ here: numbers, and the painter.
    stream: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WorldConfig:
    """Everything a folder of weights says about itself."""

    name: str
    title: str
    description: str
    width: int
    height: int
    fps: int
    model: ModelConfig
    codec: CodecConfig = field(default_factory=CodecConfig)
    preview_codec: CodecConfig | None = None  # a cheaper one of the same latents, for live pictures
    stream: StreamConfig = field(default_factory=StreamConfig)
    live: StreamConfig | None = None  # how it is played live where that is not how it is rendered
    controls: ControlsConfig = field(default_factory=ControlsConfig)
    # Weights of several scenarios list them all; title, description and controls above are those of `scenario`.
    scenarios: dict[str, ScenarioConfig] = field(default_factory=dict)
    scenario: str = ""
    latent_scale: tuple[float, ...] = ()  # per channel: network latents = codec latents / scale; () means 1
    provenance: dict[str, Any] = field(default_factory=dict)  # command, data hash, minutes, machine, scores
    format_version: int = 1

    def playing(self, scenario: str) -> WorldConfig:
        """Return the config with title, description and controls of one of its scenarios; "" changes nothing."""
        if not scenario:
            return self
        if scenario not in self.scenarios:
            raise ConfigError(f"the world {self.name!r} has no scenario {scenario!r}"
                              f"{did_you_mean(scenario, self.scenarios)}")
        chosen = self.scenarios[scenario]
        where = f"scenarios.{scenario}.stream"
        known = {name: hint for name, hint in _hints(StreamConfig).items() if hint is float or name == "painter"}
        for name in chosen.stream.keys() - known.keys():
            raise ConfigError(f"{where} has no setting {name!r}{did_you_mean(name, known)}")
        changes = {name: _convert(known[name], value, f"{where}.{name}") for name, value in chosen.stream.items()}
        return dataclasses.replace(self, scenario=scenario, title=chosen.title, description=chosen.description,
                                   controls=chosen.controls, stream=dataclasses.replace(self.stream, **changes))

    def played_live(self) -> WorldConfig:
        """Return the config with the stream of live play; unchanged where that is the only one."""
        return dataclasses.replace(self, stream=self.live, live=None) if self.live else self

    @property
    def shown_width(self) -> int:
        """Of the frames that leave the world, in pixels; pictures inside it are `width` wide."""
        return self.width * self.codec.shown_factor

    @property
    def shown_height(self) -> int:
        return self.height * self.codec.shown_factor

    @property
    def frames_per_chunk(self) -> int:
        return self.stream.latent_frames_per_chunk * self.codec.frames_per_latent

    @property
    def chunk_s(self) -> float:
        return self.frames_per_chunk / self.fps


def from_dict(cls: type[T], data: Any, where: str = "config") -> T:
    """Build the dataclass `cls` from plain JSON/TOML values; ConfigError names the field and the value at fault."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where} must be a table of names and values, but is {data!r}")
    hints = _hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}
    for name in data:
        if name not in known:
            raise ConfigError(f"{where} has no setting {name!r}{did_you_mean(str(name), known)}")
    missing = [n for n, f in known.items() if n not in data and f.default is dataclasses.MISSING
               and f.default_factory is dataclasses.MISSING]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}; add them or take the file from the weights again")
    return cls(**{name: _convert(hints[name], value, f"{where}.{name}") for name, value in data.items()})


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)  # reads the hints as code, which is slow for a file of a thousand values


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{where} is {value!r}{did_you_mean(str(value), map(str, args))}")
        return value
    if origin is tuple or origin is list:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, but is {value!r}")
        if origin is tuple and Ellipsis not in args and len(args) != len(value):
            raise ConfigError(f"{where} must hold {len(args)} values, but holds {len(value)}")
        items = args if origin is tuple and Ellipsis not in args else [args[0]] * len(value)
        return origin(_convert(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(items, value, strict=True)))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table, but is {value!r}")
        return {k: _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where} must be of type {hint.__name__}, but is {value!r}")
    return value


def to_dict(config: Any) -> dict[str, Any]:
    """Return plain values that `from_dict` reads back to an equal dataclass."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def load_json(path: Path) -> Any:
    """Read a JSON file; ConfigError says which file and line is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid JSON ({error}); take the file from the weights again") from None


def read_own_text(path: Path) -> str:
    """Read a file that somebody wrote by hand: UTF-8, or what its byte order mark says, as PowerShell's ">" sets it."""
    with path.open("rb") as file:
        is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return path.read_text(encoding="utf-16" if is_utf16 else "utf-8-sig")


def load_world_config(folder: Path, scenario: str = "") -> WorldConfig:
    """Read `folder/config.json` for one of its scenarios ("": the one that comes first in the file).

    ConfigError names a setting that is wrong by itself or contradicts another.
    """
    config = written_world_config(folder)
    return config.playing(scenario or config.scenario)


def written_world_config(folder: Path) -> WorldConfig:
    """Read `folder/config.json` as it was written, to be changed and written again; errors as of `load_world_config`.

    No scenario's own stream settings are in force, which would become those of all scenarios when it is written.
    """
    path = folder / "config.json"
    config = from_dict(WorldConfig, load_json(path), where=str(path))
    for scenario in ("", *config.scenarios):
        if sentence := first_contradiction(config.playing(scenario)):
            told = f"scenario {scenario}: " if scenario else ""
            raise ConfigError(f"{path}: {told}{sentence}; take the file from the weights again")
    return config
