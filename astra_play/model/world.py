"""World: the only face of the network that anybody outside model/ sees. Actions in, frames out, chunk by chunk.

Behind it stands one of two streams with the same face: `FreeRun` (a KV cache, our own worlds) or `PackedRun` (history
packed anew at every step, the published weights).

Five verbs: `reset` forgets, `prefill` shows the past, `generate` makes latents (and `step` decodes them too),
`commit` writes the finished chunk to the history, `close` gives the memory back. Out of scope: windows, input
devices, pacing, files of frames.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..chunks import ActionChunk, ActionSample, LatentChunk
from ..codec import pixels
from ..codec.streaming import Codec, StreamingDecoder
from ..codec.upscaler import interpolated
from ..config import WorldConfig
from ..errors import AstraPlayError, ConfigError
from .carried import carried_picture
from .framepack_history import RowPlacement
from .free_run import FreeRun
from .packed_run import PackedRun
from .sampler import add_noise, schedule_for
from .snapshot import WorldSnapshot
from .transformer import Transformer

log = logging.getLogger(__name__)

COMMIT_STREAM = 1 << 62  # offset of the seed whose noise goes to committed context; far from every other seed


class World:
    """A generated world on one device. One thread owns it; nothing in it locks."""

    def __init__(self, config: WorldConfig, model: Transformer, codec: Codec, device: torch.device,
                 start_frames: np.ndarray | None = None, decoder: Codec | None = None,
                 placement: RowPlacement = "entering",
                 read_prompt: Callable[[str], Sequence[Tensor]] | None = None) -> None:
        """`decoder`: another codec of the same latents to make the pictures with; None: the codec itself.

        `placement`: what the rows of a packed history mean (`FramePackHistory`). `read_prompt`: the text states of a
        prompt, and where there is text guidance of the negative one, for `set_prompt`; None where nobody can make them.
        """
        self.config = config
        self.device = device
        self.guidance_scale = config.stream.guidance_scale
        self._sigmas = config.stream.sigmas
        self._codec = codec.to(device)
        self._run = self._make_run(model.to(device), placement)
        self._decoder = StreamingDecoder(self._codec if decoder is None else decoder.to(device))
        scale = torch.tensor(config.latent_scale or (1.0,) * config.codec.latent_channels, device=device)
        self._scale = scale[:, None, None]
        self._start_frames = start_frames
        self._read_prompt = read_prompt
        self._noise = torch.Generator(device)
        self._commit_noise = torch.Generator(device)
        self._draws_finely = config.codec.upscaler_width > 0
        self._unpainted = False  # a chunk was generated whose pictures nobody has asked for yet
        self._last_latents: Tensor | None = None
        self.reset(0)

    @property
    def _is_packed(self) -> bool:
        return self.config.model.history == "framepack"

    def _make_run(self, model: Transformer, placement: RowPlacement) -> FreeRun | PackedRun:
        config = self.config
        if self._is_packed:
            return PackedRun(model, config.stream, config.controls.modality, placement)
        if config.model.text_dim:
            raise ConfigError(f"the world {config.name!r} has a KV cache and is conditioned on text, which no weights "
                              "are; its config needs \"text_dim\": 0 or the history \"framepack\"")
        return FreeRun(model, config.stream, config.controls.modality, carried=carried_picture(config, self._codec),
                       disturb=self._disturb if config.stream.context_sigma > 0 else None)

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
    def probes_threads(self) -> bool:
        """Whether fewer compute threads may be faster: small passes of a small network, and on a processor."""
        return self.device.type == "cpu" and not self._is_packed

    @property
    def draws_finely(self) -> bool:
        """Whether the codec's upscaler draws what is shown, and no interpolation; never in a world without one.

        Setting it counts from the next picture on, changes no picture's size, and nothing that the world remembers. A
        world without an upscaler shows its pictures as they are, whatever it is set to.
        """
        return self._draws_finely

    @draws_finely.setter
    def draws_finely(self, finely: bool) -> None:
        self._draws_finely = finely and self.config.codec.upscaler_width > 0

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
        """Network evaluations that one chunk costs now: each guidance adds one a step, the commit rides along for
        free."""
        return float(self.num_denoise_steps * (1 + (self.guidance_scale != 1.0) + (self.text_guidance_scale != 1.0)))

    @property
    def text_guidance_scale(self) -> float:
        """How far the prompt is favoured over the negative prompt; 1, the only value of worlds without text, is off."""
        return getattr(self._run, "text_guidance_scale", 1.0)

    def set_text(self, states: Tensor, negative: Tensor | None = None, guidance_scale: float = 1.0) -> None:
        """Take text states (1, L, text_dim) of the prompt from the next chunk on (`model.text.text_states`).

        `negative` and `guidance_scale` turn on text guidance. ConfigError for a world that reads no text.
        """
        if not self.config.model.text_dim:
            raise ConfigError(f"the world {self.config.name!r} reads no text; leave the prompt out")
        if guidance_scale != 1.0 and negative is None:
            raise ConfigError("text guidance needs the text states of a negative prompt, which may be those of \"\"")
        self._run.set_text(states.to(self.device), None if negative is None else negative.to(self.device))
        self._run.text_guidance_scale = guidance_scale

    def set_prompt(self, prompt: str) -> None:
        """Read a prompt, which takes seconds where it was never read before, and take it from the next chunk on.

        Whatever cannot be read leaves the prompt before. ConfigError for a world that reads no text.
        """
        if self._read_prompt is None:
            raise ConfigError(f"the world {self.config.name!r} cannot be told anything, since it reads no text")
        self.set_text(*self._read_prompt(prompt), guidance_scale=self.text_guidance_scale)

    def watch_steps(self, after_step: Callable[[], None]) -> None:
        """Call `after_step` after every denoise step of a packed history, which may take seconds; for progress bars."""
        if self._is_packed:
            self._run.after_step = after_step

    def warm_up(self) -> None:
        """Play until whatever is made once has been made, and forget it: the player's first chunk is like any other."""
        self.prefill(self.trial_frames())
        for _ in range(self._chunks_of_warm_up()):
            self.step(self._trial_chunk())
            self.commit()
        self.reset(0)

    def _chunks_of_warm_up(self) -> int:
        stream = self.config.stream
        if self._is_packed:
            return 2  # every new length of the past is another shape until 20 latents are there; two show what works
        if self.device.type == "cpu":
            return 2  # which prepares nothing for the length of the past
        return stream.sink_chunks + stream.ring_chunks + 1  # after which no pass has a shape of its own any more

    def run_probe_pass(self, num_threads: int) -> None:
        """Make one chunk on `num_threads` compute threads, as play would; for the thread probe, before `warm_up`."""
        self.num_threads = num_threads
        if not self._run.has_past:
            self.prefill(self.trial_frames())
        self.step(self._trial_chunk())
        self.commit()

    def reset(self, seed: int) -> None:
        """Forget everything and draw all further noise from `seed`."""
        self._run.reset()
        self._decoder.reset()
        self._unpainted = False
        self._last_latents = None
        self._noise.manual_seed(seed)
        self._commit_noise.manual_seed(seed + COMMIT_STREAM)

    @torch.inference_mode()
    def prefill(self, frames: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Show the world prompt frames (F, height, width, 3) uint8 and their action rows (T, A); returns the frames as
        the world itself shows them, (F, shown_height, shown_width, 3) uint8.

        None means nobody moved. Frames that do not fill a whole chunk (of a packed history: whole latents) repeat the
        first one in front. AstraPlayError for frames that do not fit, or for a second call to a world whose codec joins
        frames in time: it has to be reset first.
        """
        self.commit()
        config = self.config
        if frames.ndim != 4 or frames.shape[1:] != (config.height, config.width, 3) or frames.dtype != np.uint8:
            raise AstraPlayError(f"prompt frames must be uint8 of shape (F, {config.height}, {config.width}, 3), but "
                                 f"are {frames.dtype} of shape {frames.shape}; see codec.pixels.load_start_image")
        if len(frames) == 0:
            raise AstraPlayError("prefill needs at least one prompt frame, but was given none")
        if self._joins_frames and self._run.has_past:
            raise AstraPlayError(f"the world {config.name!r} was already shown its first frames; reset it before it is "
                                 "shown others")
        frames = np.concatenate([np.repeat(frames[:1], self._frames_missing(len(frames)), axis=0), frames])
        pictures = pixels.to_float(torch.from_numpy(np.ascontiguousarray(frames)).to(self.device))
        latents = self._codec.encode(pictures[None]).float()
        self._show(latents, self._rows_of_prompt(rows, latents.shape[1]), pictures)
        if self._run.carried is None:  # the decoder's memory is part of the past
            return self._decoder.decode(latents[0]).cpu().numpy()
        return self._as_shown(pictures)

    @property
    def _joins_frames(self) -> bool:
        return self.config.codec.frames_per_latent > 1

    def _frames_missing(self, num_frames: int) -> int:
        """Frames to put in front of `num_frames` so that all of them count."""
        if self._joins_frames:  # the first latent of a stream holds one frame, the others several
            return (1 - num_frames) % self.config.codec.frames_per_latent
        return -num_frames % self.config.frames_per_chunk

    def _rows_of_prompt(self, rows: np.ndarray | None, num_latents: int) -> Tensor:
        """Check the rows that led into prompt frames and complete them, (1, num_latents, A)."""
        config = self.config
        if rows is None:
            rows = np.tile(self._idle_row(), (num_latents, 1))
        row_width = config.model.modalities[config.controls.modality] - 1
        if rows.ndim != 2 or rows.shape[1] != row_width or len(rows) > num_latents:
            raise AstraPlayError(f"rows must have the shape (T, {row_width}) with T at most {num_latents} for "
                                 f"these prompt frames, but have {rows.shape}; see actions.rows")
        rows = np.concatenate([np.repeat(rows[:1], num_latents - len(rows), axis=0), rows])
        return torch.from_numpy(rows.astype(np.float32)).to(self.device)[None]

    def _show(self, latents: Tensor, rows: Tensor, pictures: Tensor) -> None:
        """Show true codec latents (1, T, C, h, w) with their rows, and pictures (F, 3, H, W) where one is carried."""
        if self._is_packed:
            self._run.show(latents, rows)
            return
        chunk = self.config.stream.latent_frames_per_chunk
        for start in range(0, latents.shape[1], chunk):
            own = slice(start, start + chunk)
            last = pictures[None, (start + chunk) * self.config.codec.frames_per_latent - 1]
            self._run.show(latents[:, own] / self._scale, rows[:, own], last)

    @torch.inference_mode()
    def generate(self, action: ActionChunk) -> LatentChunk:
        """Denoise one chunk under its action rows. A world that was shown nothing starts from its first start
        picture.

        A chunk of a packed history has as many latent frames as rows; others have `latent_frames_per_chunk`.
        """
        self.commit()
        if not self._run.has_past:
            self.prefill(self._default_start())
        config = self.config
        rows = torch.from_numpy(np.asarray(action.rows, np.float32)).to(self.device)[None]
        num_latents = rows.shape[1] if self._is_packed else config.stream.latent_frames_per_chunk
        shape = 1, num_latents, config.model.latent_channels, config.model.grid_height, config.model.grid_width
        noise = torch.randn(shape, generator=self._noise, device=self.device)
        clean = self._run.generate(noise, rows, self._sigmas, self.guidance_scale)
        self._unpainted = self._run.carried is not None
        self._last_latents = clean[0] * self._scale
        return LatentChunk(self._last_latents, action.chunk_index, action.reset_count)

    @property
    def last_latents(self) -> np.ndarray | None:
        """The clean latents (T, C, h, w) float32 of the newest chunk, read-only; None before the first."""
        if self._last_latents is None:
            return None
        latents = self._last_latents.float().cpu().numpy()  # no copy on a processor: each chunk makes its own tensor
        latents.flags.writeable = False
        return latents

    @torch.inference_mode()
    def decode(self, chunk: LatentChunk) -> np.ndarray:
        """Return the frames (F, shown_height, shown_width, 3) uint8 of the chunk just generated; call once, before
        `commit`."""
        if self._run.carried is None:
            return self._decoder.decode(chunk.latents).cpu().numpy()
        self._unpainted = False
        return self._as_shown(self._run.paint()[0][0])

    def _as_shown(self, pictures: Tensor) -> np.ndarray:
        """Carried pictures (F, 3, height, width) -> frames (F, shown_height, shown_width, 3) uint8."""
        upscaler = self._codec.upscaler
        if upscaler is not None:
            pictures = upscaler(pictures) if self._draws_finely else interpolated(pictures)
        return pixels.to_uint8(pictures).cpu().numpy()

    def step(self, action: ActionChunk) -> np.ndarray:
        """Generate and decode one chunk: its frames (F, shown_height, shown_width, 3) uint8."""
        return self.decode(self.generate(action))

    @torch.inference_mode()
    def commit(self) -> None:
        """Hand the finished chunk to the history; its pass is folded into the first pass of the next chunk."""
        if self._unpainted:  # what comes next is anchored to the pictures, whether or not they were asked for
            self._run.paint()
            self._unpainted = False
        self._run.commit()

    @torch.inference_mode()
    def snapshot(self) -> WorldSnapshot:
        """Return everything that is to come depends on, after committing the finished chunk, which changes nothing."""
        self.commit()
        return WorldSnapshot(self._run.snapshot(), self._decoder.memory, self._noise.get_state(),
                             self._commit_noise.get_state(), self.guidance_scale, tuple(self._sigmas))

    @torch.inference_mode()
    def restore(self, snapshot: WorldSnapshot) -> None:
        """Go on from a snapshot of this world as if it had never been left; the snapshot can be used again.

        Compute threads are the process's and stay as they are.
        """
        self._run.restore(snapshot.run)
        self._decoder.memory = snapshot.decoder_memory
        self._noise.set_state(snapshot.noise)
        self._commit_noise.set_state(snapshot.commit_noise)
        self.guidance_scale, self._sigmas = snapshot.guidance_scale, snapshot.sigmas
        self._unpainted, self._last_latents = False, None

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
        from ..actions.rows import ROW_WIDTH, camera_row, idle_row

        modality = self.config.controls.modality
        if self.config.model.modalities[modality] - 1 != ROW_WIDTH[modality]:
            return camera_row()  # the published network's arm, whose rows are matrices as a camera's are
        return idle_row(modality)

    def trial_frames(self) -> np.ndarray:
        """What play is tried with, (1, height, width, 3) uint8: the first start picture, since a place costs what
        stands in it; black where there is none."""
        if self._start_frames is not None:
            return self._start_frames
        return np.zeros((1, self.config.height, self.config.width, 3), np.uint8)

    def _trial_chunk(self) -> ActionChunk:
        """What play is tried with: the first button held, since a world at rest has less to do."""
        from ..actions.row_makers import make_row_maker

        sample = ActionSample(buttons=frozenset(self.config.controls.buttons[:1]))
        return ActionChunk(sample, make_row_maker(self.config).rows(sample), self.config.controls.modality)
