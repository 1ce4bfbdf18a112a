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
from wan_codecs import SMALL_TAEHV, SMALL_VAE, small_taehv, small_vae

from astra_play.config import StreamConfig, load_world_config
from astra_play.model.checkpoint import CODEC_FILE, PREVIEW_FILE, save_config
from astra_play.model.import_codecs import import_taehv, import_wan_vae, original_name
from astra_play.model.import_world import import_world
from astra_play.model.loading import TEXT_FOLDER
from astra_play.model.sampler import sigma_schedule
from astra_play.model.text_files import import_text_encoder

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
    import_world(files.checkpoint, folder, width=WIDTH, height=HEIGHT)
    codec = import_wan_vae(files.wan, folder / CODEC_FILE, SMALL_VAE)
    preview = import_taehv(files.taehv, folder / PREVIEW_FILE, SMALL_TAEHV)
    import_text_encoder(files.wan, folder / TEXT_FOLDER)
    live = StreamConfig(latent_frames_per_chunk=2, sigmas=sigma_schedule(4, 5.0), shift=5.0, solver="unipc",
                        framepack_cache_sigma=1.0)
    save_config(dataclasses.replace(load_world_config(folder), codec=codec, preview_codec=preview, live=live), folder)
    return folder
