"""World: the only face of the network that anybody outside model/ sees. Actions in, frames out, chunk by chunk.

Five verbs: `reset` forgets, `prefill` shows the past, `generate` makes latents (and `step` decodes them too),
`commit` writes the finished chunk to the history, `close` gives the memory back. Out of scope: windows, input
devices, pacing, files of frames.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .. import paths
from ..chunks import ActionChunk, ActionSample, LatentChunk
from ..codec import pixels
from ..codec.mini import MiniCodec
from ..codec.streaming import StreamingDecoder
from ..config import WorldConfig, load_world_config
from ..errors import AstraPlayError, ConfigError
from .carried import carried_picture
from .checkpoint import load_codec, load_model
from .free_run import FreeRun
from .sampler import add_noise, schedule_for
from .transformer import Transformer

log = logging.getLogger(__name__)

COMMIT_STREAM = 1 << 62  # offset of the seed whose noise goes to committed context; far from every other seed


class World:
    """A generated world on one device. One thread owns it; nothing in it locks."""

    def __init__(self, config: WorldConfig, model: Transformer, codec: MiniCodec, device: torch.device,
                 start_frames: np.ndarray | None = None) -> None:
        if config.model.history != "kv_cache":
            raise ConfigError(f"the world {config.name!r} asks for the history {config.model.history!r}, which cannot "
                              "be played by this version; use \"kv_cache\"")
        if config.model.text_dim:
            raise ConfigError(f"the world {config.name!r} is conditioned on text, which this version cannot encode; "
                              "its config needs \"text_dim\": 0")
        self.config = config
        self.device = device
        self.guidance_scale = config.stream.guidance_scale
        self._sigmas = config.stream.sigmas
        self._codec = codec.to(device)
        self._run = FreeRun(model.to(device), config.stream, config.controls.modality,
                            carried=carried_picture(config, self._codec),
                            disturb=self._disturb if config.stream.context_sigma > 0 else None)
        self._decoder = StreamingDecoder(self._codec)
        scale = torch.tensor(config.latent_scale or (1.0,) * config.codec.latent_channels, device=device)
        self._scale = scale[:, None, None]
        self._start_frames = start_frames
        self._noise = torch.Generator(device)
        self._commit_noise = torch.Generator(device)
        self._unpainted = False  # a chunk was generated whose pictures nobody has asked for yet
        self.reset(0)

    @property
    def num_denoise_steps(self) -> int:
        """Network passes from noise to clean latents; setting it picks the schedule that the weights name for it."""
        return len(self._sigmas) - 1

    @num_denoise_steps.setter
    def num_denoise_steps(self, count: int) -> None:
        self._sigmas = schedule_for(self.config.stream, count)

    @property
    def num_threads(self) -> int:
        """Compute threads of the process, as torch counts them; setting it counts from the next pass on."""
        return torch.get_num_threads()

    @num_threads.setter
    def num_threads(self, count: int) -> None:
        torch.set_num_threads(count)

    @property
    def routing(self) -> np.ndarray | None:
        """Weights of the action experts for the newest chunk, (T, num_experts), or None before the first."""
        routing = self._run.history.routing
        return None if routing is None else routing[0].float().cpu().numpy()

    @property
    def num_passes(self) -> int:
        """Network evaluations since the world was built."""
        return self._run.history.num_passes

    def passes_per_chunk(self) -> float:
        """Network evaluations that one chunk costs now: guidance doubles them, the commit rides along for free."""
        return float(self.num_denoise_steps * (1 if self.guidance_scale == 1.0 else 2))

    def warm_up(self) -> None:
        """Play an idle world until its window is full and forget it: every shape that play will meet has been met."""
        self.prefill(np.zeros((1, self.config.height, self.config.width, 3), np.uint8))
        for _ in range(self.config.stream.sink_chunks + self.config.stream.ring_chunks + 1):
            self.step(self._idle_chunk())
            self.commit()
        self.reset(0)

    def run_probe_pass(self, num_threads: int) -> None:
        """Make one chunk on `num_threads` compute threads, as play would; for the thread probe, before `warm_up`."""
        self.num_threads = num_threads
        if not self._run.has_past:
            self.prefill(np.zeros((1, self.config.height, self.config.width, 3), np.uint8))
        self.step(self._idle_chunk())
        self.commit()

    def reset(self, seed: int) -> None:
        """Forget everything and draw all further noise from `seed`."""
        self._run.reset()
        self._decoder.reset()
        self._unpainted = False
        self._noise.manual_seed(seed)
        self._commit_noise.manual_seed(seed + COMMIT_STREAM)

    @torch.inference_mode()
    def prefill(self, frames: np.ndarray, rows: np.ndarray | None = None) -> None:
        """Show the world prompt frames (F, height, width, 3) uint8 and the action rows (T, A) that led into them.

        None means nobody moved. Frames that do not fill a whole chunk repeat the first one in front.
        """
        self.commit()
        config, chunk = self.config, self.config.stream.latent_frames_per_chunk
        if frames.ndim != 4 or frames.shape[1:] != (config.height, config.width, 3) or frames.dtype != np.uint8:
            raise AstraPlayError(f"prompt frames must be uint8 of shape (F, {config.height}, {config.width}, 3), but "
                                 f"are {frames.dtype} of shape {frames.shape}; see codec.pixels.load_start_image")
        if len(frames) == 0:
            raise AstraPlayError("prefill needs at least one prompt frame, but was given none")
        missing = -len(frames) % config.frames_per_chunk
        frames = np.concatenate([np.repeat(frames[:1], missing, axis=0), frames])
        pictures = pixels.to_float(torch.from_numpy(np.ascontiguousarray(frames)).to(self.device))
        latents = self._codec.encode(pictures[None])
        if rows is None:
            rows = np.tile(self._idle_row(), (latents.shape[1], 1))
        row_width = config.model.modalities[config.controls.modality] - 1
        if rows.ndim != 2 or rows.shape[1] != row_width or len(rows) > latents.shape[1]:
            raise AstraPlayError(f"rows must have the shape (T, {row_width}) with T at most {latents.shape[1]} for "
                                 f"these prompt frames, but have {rows.shape}; see actions.rows")
        rows = np.concatenate([np.repeat(rows[:1], latents.shape[1] - len(rows), axis=0), rows])
        rows_on_device = torch.from_numpy(rows.astype(np.float32)).to(self.device)[None]
        for start in range(0, latents.shape[1], chunk):
            own = slice(start, start + chunk)
            last = pictures[None, (start + chunk) * config.codec.frames_per_latent - 1]
            self._run.show(latents[:, own] / self._scale, rows_on_device[:, own], last)
        if self._run.carried is None:
            self._decoder.decode(latents[0])  # the decoder's memory is part of the past

    @torch.inference_mode()
    def generate(self, action: ActionChunk) -> LatentChunk:
        """Denoise one chunk under its action rows. A world that was shown nothing starts from its first start
        picture."""
        self.commit()
        if not self._run.has_past:
            self.prefill(self._default_start())
        config = self.config
        rows = torch.from_numpy(np.asarray(action.rows, np.float32)).to(self.device)[None]
        shape = (1, config.stream.latent_frames_per_chunk, config.model.latent_channels,
                 config.model.grid_height, config.model.grid_width)
        noise = torch.randn(shape, generator=self._noise, device=self.device)
        clean = self._run.generate(noise, rows, self._sigmas, self.guidance_scale)
        self._unpainted = self._run.carried is not None
        return LatentChunk(clean[0] * self._scale, action.chunk_index, action.reset_count)

    @torch.inference_mode()
    def decode(self, chunk: LatentChunk) -> np.ndarray:
        """Return the frames (F, height, width, 3) uint8 of the chunk just generated; call once, before `commit`."""
        if self._run.carried is None:
            return self._decoder.decode(chunk.latents).cpu().numpy()
        self._unpainted = False
        return pixels.to_uint8(self._run.paint()[0][0]).cpu().numpy()

    def step(self, action: ActionChunk) -> np.ndarray:
        """Generate and decode one chunk: its frames (F, height, width, 3) uint8."""
        return self.decode(self.generate(action))

    @torch.inference_mode()
    def commit(self) -> None:
        """Hand the finished chunk to the history; its pass is folded into the first pass of the next chunk."""
        if self._unpainted:  # what comes next is anchored to the pictures, whether or not they were asked for
            self._run.paint()
            self._unpainted = False
        self._run.commit()

    def close(self) -> None:
        """Give the memory back; the world cannot be used afterwards. Closing twice is harmless."""
        self._run = self._decoder = self._codec = None

    def _disturb(self, latents: Tensor) -> Tensor:
        """Give latents on their way into the history the context's own noise."""
        noise = torch.randn(latents.shape, generator=self._commit_noise, device=self.device)
        return add_noise(latents, noise, self.config.stream.context_sigma)

    def _default_start(self) -> np.ndarray:
        if self._start_frames is None:
            raise AstraPlayError(f"the world {self.config.name!r} has no start picture of its own; "
                                 "call prefill with frames first")
        return self._start_frames

    def _idle_row(self) -> np.ndarray:
        from ..actions.rows import idle_row

        return idle_row(self.config.controls.modality)

    def _idle_chunk(self) -> ActionChunk:
        rows = np.tile(self._idle_row(), (self.config.stream.latent_frames_per_chunk, 1))
        return ActionChunk(ActionSample(), rows, self.config.controls.modality)


def choose_device(device: Literal["auto"] | str = "auto") -> torch.device:
    """Return the device to play on: "auto" takes CUDA where there is one, else the CPU."""
    if device != "auto":
        try:
            return torch.device(device)
        except RuntimeError:
            raise ConfigError(f"there is no device {device!r}; use \"auto\", \"cpu\" or \"cuda\"") from None
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_world(name_or_path: str | Path = paths.DEFAULT_WORLD, device: str = "auto") -> World:
    """Load a world from weights/NAME or from a folder; "/SCENARIO" after it picks one of its scenarios.

    WeightsError or ConfigError says what is wrong with it.
    """
    folder, scenario = paths.find_world(name_or_path)
    config = load_world_config(folder, scenario)
    pictures = paths.start_pictures(config.name, config.scenario)
    start = None
    if pictures:
        start = pixels.load_start_image(pictures[0], config.width, config.height)[None]
    return World(config, load_model(folder, config), load_codec(folder, config), choose_device(device), start)
