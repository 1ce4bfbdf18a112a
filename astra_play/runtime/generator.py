"""The generator thread: sample the controls at the last moment, make a chunk, publish it, then commit it.

The only thread that touches the world, which is built here too, so that torch never meets the main thread. Between
chunks it reads a mailbox of commands; everything it waits for can be cut short through `wake`.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..actions.row_makers import Place, RowMaker, make_row_maker
from ..chunks import ActionChunk, ActionSample, FrameChunk
from ..config import WorldConfig
from .detail import DetailKeeper
from .interfaces import ActionSource, Clock, FrameOutput, PlayableWorld
from .journal import Journal
from .playout import PlayoutQueue
from .stats import Distribution, Stats
from .threads import ThreadKeeper

log = logging.getLogger(__name__)

WorldFactory = Callable[[], PlayableWorld]

LEAD_QUANTILE = 0.95  # of recent chunk times: one chunk in twenty may come late before the lead grows
LEAD_WINDOW = 64  # chunks, 4 s of play: long enough for a quantile, short enough to follow a busy neighbour
LEAD_MARGIN_S = 0.004  # for the thread switch to the window, and its poll
MAX_LEAD_CHUNKS = 1.0  # a longer lead would show old intentions for a whole chunk more; an underrun is the lesser evil
PAUSED_WAIT_S = 0.5  # a pause ends through `wake`; this only bounds the wait


@dataclass(frozen=True)
class Resume:
    """A world that the factory hands over in mid-play, for whoever takes it over from a replay.

    `row_maker` is asked for on the generator thread, after the factory was. `num_chunks` were made since the start.
    """

    row_maker: Callable[[], RowMaker]
    num_chunks: int


@dataclass(frozen=True)
class Settings:
    """How a session starts. None means the world's own value."""

    seed: int = 0
    prompt_frames: np.ndarray | None = None  # (F, H, W, 3) uint8; None: the world starts from nothing
    hand_m: Place | None = None  # where they show the hand of an arm, where that is known
    guidance_scale: float | None = None
    num_denoise_steps: int | None = None
    keep_threads: bool = True  # False: the world's number of compute threads was asked for and stays
    resume: Resume | None = None  # go on in a world that is being played, instead of starting one
    paced: bool = True  # False: chunks are made back to back in virtual time, and the playout queue is left out


@dataclass(frozen=True)
class Reset:
    """Start again as number `reset_count`."""

    reset_count: int
    seed: int
    prompt_frames: np.ndarray | None
    hand_m: Place | None = None


@dataclass(frozen=True)
class Guidance:
    scale: float


@dataclass(frozen=True)
class Steps:
    num_denoise_steps: int


@dataclass(frozen=True)
class Prompt:
    text: str


@dataclass(frozen=True)
class PromptOutcome:
    """What became of a prompt: it is the world's now, or with an `error` the one before it stays."""

    text: str
    error: Exception | None = None


Command = Reset | Guidance | Steps | Prompt


class LeadEstimate:
    """How long before its due time a chunk must be begun: late sampling feels quick, later still is an underrun."""

    def __init__(self) -> None:
        self._times_ms = Distribution(window=LEAD_WINDOW)

    def add(self, seconds: float) -> None:
        self._times_ms.add(1000.0 * seconds)

    def lead_s(self) -> float:
        quantile_ms = self._times_ms.recent(LEAD_QUANTILE)
        return LEAD_MARGIN_S + (quantile_ms or 0.0) / 1000.0


class Generator:
    """The loop of one session. `run` is the thread; `stop`, `wake`, `paused`, `commands` are its main-thread face."""

    def __init__(self, world_factory: WorldFactory, source: ActionSource, clock: Clock, playout: PlayoutQueue,
                 stats: Stats, settings: Settings) -> None:
        self._world_factory = world_factory
        self._source = source
        self._clock = clock
        self._playout = playout
        self._stats = stats
        self._settings = settings
        self.outputs: tuple[FrameOutput, ...] = (playout,) if settings.paced else ()
        self.journal = Journal()
        self.commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self.prompt_outcomes: queue.SimpleQueue[PromptOutcome] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.wake = threading.Event()  # set together with any change that the loop should notice at once
        self.paused = threading.Event()
        self.phase = "loading"
        self.error: BaseException | None = None
        self.config: WorldConfig | None = None
        self.guidance_scale: float | None = None
        self.num_denoise_steps: int | None = None
        self.num_threads: int | None = None
        self.draws_finely: bool | None = None
        self._thread_keeper: ThreadKeeper | None = None
        self._detail_keeper: DetailKeeper | None = None
        self._lead = LeadEstimate()
        self._reset_count = 0
        self._chunk_index = 0
        self._num_chunks = 0  # over all resets

    def run(self) -> None:
        """Build the world and play until stopped; the first failure is kept in `error`."""
        world: PlayableWorld | None = None
        try:
            world = self._world_factory()
            self._play(world)
        except BaseException as error:  # a thread that ended silently would look like a frozen world
            self.error = error
            log.debug("The generator failed.", exc_info=True)
        finally:
            self._playout.close()
            self._close(world)
            self.stop.set()

    def _close(self, world: PlayableWorld | None) -> None:
        try:
            if world is not None:
                world.close()
        except Exception as error:  # never over the first failure
            if self.error is None:
                self.error = error
            log.warning("Closing the world failed: %s", error)

    def _play(self, world: PlayableWorld) -> None:
        self._begin(world)
        if self._settings.resume is None:
            row_maker = make_row_maker(world.config)
            row_maker.reset(self._settings.hand_m)
        else:
            row_maker = self._settings.resume.row_maker()
        start_fresh = True
        while True:
            self.wake.clear()  # before looking at anything: what is set after this line cuts the next wait short
            if self.stop.is_set():
                return
            start_fresh |= self._obey(world, row_maker)
            if self.paused.is_set():
                self._clock.wait(PAUSED_WAIT_S, self.wake)
                row_maker.stop_turning()  # a flick that was still turning ended when the player let go
                self.journal.stilled()
                start_fresh = True
                continue
            begin_s = self._wait_until_last_moment()
            if begin_s is None:
                continue  # something changed during the wait: look again before sampling
            if start_fresh and self._settings.paced:
                self._source.take(begin_s)  # motion and taps from before were meant for another picture
            start_fresh = False
            self._make_chunk(world, row_maker, begin_s)

    def _begin(self, world: PlayableWorld) -> None:
        """Everything between a built world and its first chunk. A stop is noticed between the slow calls."""
        settings = self._settings
        self.config = world.config
        self._playout.set_rate(world.config.fps)
        self._stats.frames_per_chunk = world.config.frames_per_chunk
        if settings.guidance_scale is not None:
            world.guidance_scale = settings.guidance_scale
        if settings.num_denoise_steps is not None:
            world.num_denoise_steps = settings.num_denoise_steps
        self._note_settings(world)
        self.num_threads, self.draws_finely = world.num_threads, world.draws_finely
        self.journal.changed("num_threads", self.num_threads)
        self.journal.changed("draws_finely", self.draws_finely)
        # without pacing both stay, since another number may round sums the other way and no picture is late
        if settings.paced and world.probes_threads:
            if settings.keep_threads:
                self._thread_keeper = ThreadKeeper(world.num_threads, world.config.chunk_s)
            if world.draws_finely:
                self._detail_keeper = DetailKeeper(world.config.chunk_s)
        if settings.resume is not None:
            self._chunk_index = settings.resume.num_chunks
            self.journal.resume(settings.resume.num_chunks)
            self._stats.seed = settings.seed
            self.phase = "playing"
            return
        self.phase = "warming up"
        if not self.stop.is_set():
            world.warm_up()
        if not self.stop.is_set():
            self._start_world(world, settings.seed, settings.prompt_frames)
            self.journal.started(settings.seed, self._reset_count, settings.prompt_frames, settings.hand_m)
        self.phase = "playing"

    def _start_world(self, world: PlayableWorld, seed: int, prompt_frames: np.ndarray | None) -> None:
        world.reset(seed)
        if prompt_frames is not None:
            world.prefill(prompt_frames)
        self._stats.seed = seed
        self._chunk_index = 0

    def _obey(self, world: PlayableWorld, row_maker: RowMaker) -> bool:
        """Carry out every command in the mailbox, of several resets and prompts only the last.

        Return whether what the player did meanwhile was meant for another picture.
        """
        reset: Reset | None = None
        prompt: Prompt | None = None
        while True:
            try:
                command = self.commands.get_nowait()
            except queue.Empty:
                break
            if isinstance(command, Reset):
                reset = command
            elif isinstance(command, Prompt):
                prompt = command
            elif isinstance(command, Guidance):
                world.guidance_scale = command.scale
            else:
                world.num_denoise_steps = command.num_denoise_steps
            if isinstance(command, Guidance | Steps):
                self._try_detail_again(world)
            self._note_settings(world)
        if prompt is not None:
            self._read_prompt(world, prompt)
            row_maker.stop_turning()
            self.journal.stilled()
        if reset is None:
            return prompt is not None
        self._start_world(world, reset.seed, reset.prompt_frames)
        self._reset_count = reset.reset_count
        row_maker.reset(reset.hand_m)
        self.journal.started(reset.seed, reset.reset_count, reset.prompt_frames, reset.hand_m)
        return True

    def _read_prompt(self, world: PlayableWorld, prompt: Prompt) -> None:
        """Let the world read a prompt while the picture stands still; a failure is told and ends nothing."""
        self._playout.expect_gap()
        self.phase, before = "reading the prompt", self.phase
        try:
            world.set_prompt(prompt.text)
        except Exception as error:  # no encoder, no memory, a full disk: the world goes on with what it has
            log.debug("The prompt could not be read.", exc_info=True)
            self.prompt_outcomes.put(PromptOutcome(prompt.text, error))
        else:
            self.prompt_outcomes.put(PromptOutcome(prompt.text))
            self.journal.changed("prompt", prompt.text)
        finally:
            self.phase = before

    def _note_settings(self, world: PlayableWorld) -> None:
        self.guidance_scale = world.guidance_scale
        self.num_denoise_steps = world.num_denoise_steps
        self.journal.changed("guidance_scale", self.guidance_scale)
        self.journal.changed("num_denoise_steps", self.num_denoise_steps)
        self._stats.passes_per_chunk = world.passes_per_chunk()

    def _wait_until_last_moment(self) -> float | None:
        """Wait until the next chunk must be begun; return that time, or None if something else wants attention."""
        if not self._settings.paced:
            return None if self.stop.is_set() else self._num_chunks * self.config.chunk_s
        now_s = self._clock.now()
        next_due_s = self._playout.next_due_s()
        if next_due_s is None:
            return now_s
        begin_s = next_due_s - min(self._lead.lead_s(), MAX_LEAD_CHUNKS * self.config.chunk_s)
        if begin_s <= now_s:
            return now_s
        return None if self._clock.wait(begin_s - now_s, self.wake) else begin_s

    def _make_chunk(self, world: PlayableWorld, row_maker: RowMaker, begin_s: float) -> None:
        """Make, publish and commit one chunk whose turn was at `begin_s` (virtual when not paced)."""
        paced = self._settings.paced
        woke_s = self._clock.now()
        sample = self._source.take(woke_s if paced else begin_s)
        if sample is None:  # nothing more is to be played: the picture stays
            self._playout.expect_gap()
            self._clock.wait(PAUSED_WAIT_S, self.wake)
            return
        action = self._action(row_maker, sample)
        step_s = self._clock.now()
        frames = world.step(action)
        self.draws_finely = world.draws_finely  # of a replay, the recording says so from chunk to chunk
        generate_s = self._clock.now() - step_s
        if self.stop.is_set():
            return  # nobody is left to look at it
        chunk = FrameChunk(frames, action.chunk_index, action.reset_count, action, 1000.0 * generate_s,
                           world.last_latents)
        for output in self.outputs:
            output.publish(chunk)
        self.journal.made(chunk)
        published_s = self._clock.now()
        if paced:
            self._lead.add(published_s - begin_s)  # a late wake-up delays the frame as much as a slow network does
        world.commit()  # after publishing: nobody waits for it while the frame is on its way to the screen
        self._chunk_index += 1
        self._num_chunks += 1
        self._stats.dropped_turn_deg = row_maker.dropped_turn_deg
        done_s = self._clock.now()
        self._stats.chunk_made(1000.0 * generate_s, 1000.0 * (done_s - woke_s))
        if self._detail_keeper is not None:  # first, since this chunk was made on the threads so far
            self._keep_detail(world, self._detail_keeper.chunk_took(done_s - woke_s))
        if self._thread_keeper is not None:
            self._keep_threads(world, self._thread_keeper.chunk_took(generate_s, done_s))

    def _keep_threads(self, world: PlayableWorld, num_threads: int) -> None:
        if num_threads != self.num_threads:
            log.info("Compute threads: %d instead of %d.", num_threads, self.num_threads)
            world.num_threads = self.num_threads = num_threads
            self.journal.changed("num_threads", num_threads)
            if self._detail_keeper is not None:
                self._detail_keeper.forget()

    def _keep_detail(self, world: PlayableWorld, finely: bool) -> None:
        if finely != self.draws_finely:
            log.info("Pictures are enlarged by interpolation from here on: drawing them finely takes too long here.")
            self._draw_finely(world, finely)

    def _try_detail_again(self, world: PlayableWorld) -> None:
        """The player asked for other passes, which change what a chunk takes and so what there is time for."""
        if self._detail_keeper is not None:
            self._detail_keeper = DetailKeeper(world.config.chunk_s)
            self._draw_finely(world, True)

    def _draw_finely(self, world: PlayableWorld, finely: bool) -> None:
        world.draws_finely = self.draws_finely = finely
        self.journal.changed("draws_finely", finely)
        if self._thread_keeper is not None:
            self._thread_keeper.start_over()

    def _action(self, row_maker: RowMaker, sample: ActionSample) -> ActionChunk:
        return ActionChunk(sample, row_maker.rows(sample), self.config.controls.modality,
                           self._chunk_index, self._reset_count)
