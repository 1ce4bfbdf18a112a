"""The published files in small, with random weights, and the world folder that importing them makes.

The network is two blocks wide enough for one published head, both autoencoders are narrow, and the text encoder is the
tiny UMT5: a picture of 96 x 64 pixels, everything else as published. Importing takes about a second.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from published_files import SMALL, published
from tiny_text import make_published_text
from wan_codecs import small_taehv, small_vae

from astra_play.config import load_world_config
from astra_play.model.checkpoint import save_config
from astra_play.model.import_codecs import original_name
from astra_play.model.import_world import import_published

WIDTH, HEIGHT = 96, 64
TEXT_WIDTH = 24  # of the tiny UMT5


@dataclass(frozen=True)
class PublishedFiles:
    """What a person would have downloaded: Astra's network, the folder of Wan 2.1, and TAEHV."""

    checkpoint: Path
    wan: Path
    taehv: Path


def make_published_files(folder: Path) -> PublishedFiles:
    """Write the files under their published names, each in its published layout."""
    files = PublishedFiles(folder / "Astra" / "diffusion_pytorch_model.ckpt", folder / "Wan2.1-T2V-1.3B",
                           folder / "Wan2.1-T2V-1.3B" / "taew2_1.pth")
    files.checkpoint.parent.mkdir(parents=True)
    torch.save(published(dataclasses.replace(SMALL, text_dim=TEXT_WIDTH)), files.checkpoint)
    make_published_text(files.wan)
    torch.save({original_name(name): p.detach().clone() for name, p in small_vae().named_parameters()},
               files.wan / "Wan2.1_VAE.pth")
    torch.save({name: p.detach().clone() for name, p in small_taehv().named_parameters()}, files.taehv)
    return files


def make_tiny_published(folder: Path) -> Path:
    """Make the published files beside `folder`, import them as the world `folder`, and return it."""
    files = make_published_files(folder.with_name(folder.name + "-files"))
    import_published(files.checkpoint, folder, files.wan, files.taehv, WIDTH, HEIGHT)
    return folder


def shorten_chunks(world: Path, latent_frames: int = 2) -> Path:
    """Let a world render chunks of so few latent frames that a test may make three of them; returns it."""
    config = load_world_config(world)
    stream = dataclasses.replace(config.stream, latent_frames_per_chunk=latent_frames)
    save_config(dataclasses.replace(config, stream=stream), world)
    return world
