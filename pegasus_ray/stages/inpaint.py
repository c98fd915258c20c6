"""Bald heads by diffusion: Stable Diffusion inpainting under a ControlNet, as in the paper's §4.2, from the Hub by name.

By default bald heads are completed from the rig instead, which needs no weights. The diffusion model is meant for a GPU: on a CPU
a frame takes minutes. Weights are read from safetensors only, and no code from the Hub is run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch

from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.stages.composite import Image

TRAINED_SIDE: Final = 512
"""Side in pixels that Stable Diffusion 1.5 was trained at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionConfig:
    """Which models paint, and their prompts. Licences: CreativeML OpenRAIL-M (both defaults)."""

    model: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"  # on the Hub, or a folder
    revision: str = "main"
    controlnet: str = "lllyasviel/control_v11p_sd15_inpaint"
    controlnet_revision: str = "main"
    prompt: str = (
        "portrait photo of a completely bald person, smooth bare scalp, even skin tone, plain white background"
    )
    negative: str = "hair, strands, fringe, stubble on the head, hat, cap, headscarf, shadow, glare, reflection, tattoo"
    steps: int = 20
    strength: float = 1.0
    guidance: float = 7.5
    seed: int = 1
    side: int = TRAINED_SIDE

    def __post_init__(self) -> None:
        if self.side % 8 or self.side < 64:
            message = "must be a multiple of 8 from 64 on"
            raise PegasusError(Reason.BAD_CONFIG, message, subject=f"swap.diffusion.side={self.side}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inpainter:
    """Repaints a region of a picture."""

    config: DiffusionConfig
    pipe: Any = field(repr=False)  # diffusers' StableDiffusionControlNetInpaintPipeline

    def __call__(self, image: Image, gone: npt.NDArray[np.bool_]) -> Image:
        """The picture (S, S, 3), 0–1, repainted where `gone` (S, S) is true and unchanged elsewhere."""
        config, size = self.config, len(image)
        large = np.clip(cv2.resize(image, (config.side, config.side), interpolation=cv2.INTER_AREA), 0, 1)
        mask = cv2.resize(gone.astype(np.float32), (config.side, config.side), interpolation=cv2.INTER_LINEAR) > 0.5
        control = np.where(mask[..., None], np.float32(-1), large)  # the ControlNet expects −1 at missing pixels
        painted = self.pipe(
            prompt=config.prompt,
            negative_prompt=config.negative,
            image=_batch(large),
            mask_image=torch.from_numpy(mask.astype(np.float32))[None, None],
            control_image=_batch(control),
            num_inference_steps=config.steps,
            strength=config.strength,
            guidance_scale=config.guidance,
            generator=torch.Generator().manual_seed(config.seed),
            height=config.side,
            width=config.side,
            output_type="np",
        ).images[0]
        small = cv2.resize(np.asarray(painted, np.float32), (size, size), interpolation=cv2.INTER_AREA)
        return np.where(gone[..., None], np.clip(small, 0, 1), image).astype(np.float32)


@lru_cache(maxsize=1)
def load_inpainter(config: DiffusionConfig) -> Inpainter:
    """The models in memory, on the GPU where there is one.

    Raises:
        PegasusError: ASSET_MISSING where the packages or the weights cannot be had.
    """
    try:
        from diffusers import ControlNetModel, StableDiffusionControlNetInpaintPipeline, UniPCMultistepScheduler
    except ImportError as error:
        message = "needs the packages of `pip install pegasus-ray[diffusion]`; or set swap.bald=rig"
        raise PegasusError(Reason.ASSET_MISSING, message, subject="swap.bald=diffusion") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.float16 if device == "cuda" else torch.float32
    try:
        controlnet = ControlNetModel.from_pretrained(
            config.controlnet, revision=config.controlnet_revision, torch_dtype=kind, use_safetensors=True
        )
        pipe = StableDiffusionControlNetInpaintPipeline.from_pretrained(
            config.model,
            revision=config.revision,
            controlnet=controlnet,
            safety_checker=None,
            torch_dtype=kind,
            use_safetensors=True,
        )
    except (OSError, ValueError) as error:
        message = (
            f"cannot be loaded ({' '.join(str(error).split())[:200]}); check name and network, or set swap.bald=rig"
        )
        raise PegasusError(Reason.ASSET_MISSING, message, subject=f"{config.model}, {config.controlnet}") from error
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return Inpainter(config=config, pipe=pipe.to(device))


def _batch(image: Image) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
