"""Stand-ins for the display's neighbours: a test card that moves with the action rows, and a catalogue of such."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from astra_play.actions.rows import camera_motion
from astra_play.chunks import ActionChunk
from astra_play.config import CodecConfig, ControlsConfig, ModelConfig, StreamConfig, WorldConfig
from astra_play.display.catalogue import Catalogue, StartPoint, WorldEntry
from astra_play.errors import WeightsError

WIDTH, HEIGHT = 32, 24


def card_config(fps: int = 50, name: str = "card", width: int = WIDTH, height: int = HEIGHT,
                buttons: tuple[str, ...] | None = None, text_dim: int = 0, max_guidance: float = 0.0) -> WorldConfig:
    """A quick world, so that a test of a whole loop sees many frames in little time."""
    controls = ControlsConfig() if buttons is None else ControlsConfig(buttons=buttons)
    return WorldConfig(
        name=name, title="Test card", description="A card that slides as you walk and turn.", width=width,
        height=height, fps=fps, controls=controls, stream=StreamConfig(max_guidance=max_guidance),
        codec=CodecConfig(latent_channels=4, spatial_compression=1),
        model=ModelConfig(dim=8, ffn_dim=8, num_heads=1, num_layers=1, latent_channels=4, patch_size=(1, 1, 1),
                          grid_height=height, grid_width=width, text_dim=text_dim))


class CardWorld:
    """A PlayableWorld whose picture says everything that was done to it.

    Row 0 of the picture is white at the column of the metres walked (in steps), row 1 at that of the yaw turned;
    pixel (2, 0) holds seed, chunks since the reset, guidance and steps.
    """

    def __init__(self, config: WorldConfig, fail_at_chunk: int | None = None,
                 may_read: threading.Event | None = None) -> None:
        self.config = config
        self._may_read = may_read
        self.guidance_scale = config.stream.guidance_scale
        self.num_denoise_steps = len(config.stream.sigmas) - 1
        self.num_threads = 1
        self.draws_finely = False
        self.probes_threads = True
        self.text = ""
        self._fail_at_chunk = fail_at_chunk
        self.num_chunks = 0
        self.reset(0)

    def warm_up(self) -> None:
        pass

    def reset(self, seed: int) -> None:
        self.seed, self.walked_steps, self.yaw_deg, self.chunk_index, self.prompt = seed, 0, 0.0, 0, None

    def prefill(self, frames: np.ndarray, rows: np.ndarray | None = None) -> None:
        self.prompt = frames

    def set_prompt(self, prompt: str) -> None:
        if self._may_read is not None:
            self._may_read.wait(5.0)
        if "unreadable" in prompt:
            raise WeightsError("this text cannot be read; write another")
        self.text = prompt

    def step(self, action: ActionChunk) -> np.ndarray:
        if self.num_chunks == self._fail_at_chunk:
            raise WeightsError("the weights of this test break at a chosen chunk; choose another chunk")
        self.num_chunks += 1
        for row in action.rows:
            forward_m, _, yaw_left_rad, _ = camera_motion(row)
            self.walked_steps += round(forward_m / (self.config.controls.move_m_s / self.config.fps))
            self.yaw_deg += np.degrees(yaw_left_rad)
        frame = np.full((self.config.height, self.config.width, 3), 40, np.uint8)
        frame[0, self.walked_steps % self.config.width] = 255
        frame[1, round(self.yaw_deg) % self.config.width] = 255
        frame[2, 0] = self.seed % 256, self.chunk_index % 256, round(10 * self.guidance_scale)
        frame[2, 1] = self.num_denoise_steps, 0, 0
        self.chunk_index += 1
        return frame[None]

    @property
    def last_latents(self) -> np.ndarray:
        return np.full((1, 4, 2, 2), self.chunk_index, np.float32)

    def commit(self) -> None:
        pass

    def snapshot(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("seed", "walked_steps", "yaw_deg", "chunk_index", "prompt",
                                                       "guidance_scale", "num_denoise_steps", "text")}

    def restore(self, snapshot: dict[str, object]) -> None:
        vars(self).update(snapshot)

    def passes_per_chunk(self) -> float:
        return float(self.num_denoise_steps)

    def close(self) -> None:
        pass


class CardCatalogue(Catalogue):
    """Worlds that need no files: "card" plays, "broken" has a config that cannot be read, "failing" breaks in play."""

    def __init__(self, pictures: list[Path] | None = None, fail_at_chunk: int | None = None, fps: int = 50,
                 reads_text: bool = False, needs_picture: bool = False, max_guidance: float = 0.0) -> None:
        self.max_guidance = max_guidance
        self.pictures = pictures or []
        self.fail_at_chunk = fail_at_chunk
        self.fps = fps
        self.loaded: list[CardWorld] = []
        self.reads_text, self.needs_picture = reads_text, needs_picture
        self.may_load, self.may_read = threading.Event(), threading.Event()
        self.may_load.set()
        self.may_read.set()

    def entries(self) -> list[WorldEntry]:
        own = StartPoint("Test card", needs_picture=self.needs_picture)
        starts = tuple(StartPoint(picture.stem, picture) for picture in self.pictures) or (own,)
        config = self.config("card")
        return [WorldEntry("card", config.title, config.description, starts, reads_text=self.reads_text),
                WorldEntry("broken", "broken", "", (StartPoint("Not playable"),),
                           error="broken/config.json lacks model; add it or take the file from the weights again")]

    def config(self, name: str) -> WorldConfig:
        return card_config(self.fps, text_dim=4 if self.reads_text else 0, max_guidance=self.max_guidance)

    def start_pictures(self, config: WorldConfig) -> list[Path]:
        return self.pictures

    def load(self, name: str, num_threads: int | None, prompt: str = "", memory: str = "auto") -> CardWorld:
        self.may_load.wait(5.0)
        world = CardWorld(self.config(name), self.fail_at_chunk, self.may_read)
        world.text = prompt
        self.loaded.append(world)
        world.num_threads = num_threads or 1
        return world
