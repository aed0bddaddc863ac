"""Latent diffusion: a generative model of the latent vectors of a trained model.

>>> from phylocli.diffusion import DiffusionArchitecture, LatentDiffusion
>>> diffusion = LatentDiffusion(DiffusionArchitecture(features=256, conditions=("PF00042",)))
>>> z = diffusion.sample(torch.ones(10, dtype=torch.int64), seed=0, steps=50)  # (10, 256)
"""

from __future__ import annotations

from phylocli.diffusion.latent_diffusion import Average, DiffusionArchitecture, LatentDiffusion, conditions_of
from phylocli.diffusion.schedule import Schedule

__all__ = ["Average", "DiffusionArchitecture", "LatentDiffusion", "Schedule", "conditions_of"]
