"""A diffusion model of the latent vectors of a model, and the files that store it beside the model."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from phylocli.core.errors import BadInputError, UsageError, unknown_name
from phylocli.diffusion import ddim
from phylocli.diffusion.denoiser import Denoiser
from phylocli.diffusion.schedule import Prediction, Schedule
from phylocli.formats.arrays import read_described
from phylocli.formats.streams import PathLike, file_sha256, note_input, write_text

WEIGHTS, DESCRIPTION = "diffusion.safetensors", "diffusion.json"
FORMAT = "phylocli-diffusion-1"
NONE = 0
"""The code of no condition."""


@dataclass(frozen=True)
class DiffusionArchitecture:
    """The architecture of a latent diffusion model.

    Attributes:
        features: Z of a latent vector.
        conditions: names of families and clans, whose codes are 1, 2, …
        prediction: what the network predicts, `v` or `epsilon`.
        times: T of the schedule.
        width, depth: of the network.
    """

    features: int
    conditions: tuple[str, ...] = ()
    prediction: Prediction = "v"
    times: int = 1000
    width: int = 384
    depth: int = 4


class LatentDiffusion(nn.Module):
    """A distribution of latent vectors, given a family or clan or nothing.

    Args:
        config: the architecture.

    Attributes:
        config: as given.
        schedule: the noise schedule.
        denoiser: the network, whose weights are averages over the steps of training once it is trained.
        mean, scale: of the latent vectors' features, (Z,); the network works on standardised ones.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: DiffusionArchitecture) -> None:
        super().__init__()
        if config.prediction not in ("v", "epsilon"):
            raise UsageError(f"a diffusion cannot predict {config.prediction!r}", fix="choose v or epsilon")
        self.config = config
        self.schedule = Schedule.cosine(config.times)
        self.denoiser = Denoiser(config.features, len(config.conditions), width=config.width, depth=config.depth)
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("scale", torch.ones(config.features))

    @torch.no_grad()
    def standardise(self, latents: Tensor) -> None:
        """Set mean and scale to those of latent vectors, (N, Z). Constant features keep a scale of 1."""
        self.mean.copy_(latents.mean(0))
        spread = latents.std(0, correction=0)
        self.scale.copy_(torch.where(spread > 1e-6, spread, 1))

    def code(self, name: str) -> int:
        """Return the code of a family or clan.

        Raises:
            UsageError: it was not among those of training.
        """
        if name not in self.config.conditions:
            raise unknown_name("the latent diffusion model was not trained on", name, self.config.conditions)
        return self.config.conditions.index(name) + 1

    def loss(self, latents: Tensor, conditions: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Return the mean squared error of the prediction, a scalar.

        Args:
            latents: (N, Z).
            conditions: codes, (N,) int64.
            times: (N,) int64, 0 … T - 1.
            noise: standard normal, (N, Z).
        """
        x = (latents - self.mean) / self.scale
        alpha_bar = self.schedule.alpha_bar.to(torch.float32).to(x.device)[times][:, None].to(x.dtype)
        signal, spread = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        target = signal * noise - spread * x if self.config.prediction == "v" else noise
        predicted = self.denoiser(signal * x + spread * noise, times, conditions)
        return (predicted - target).square().mean()

    def predictor(self, conditions: Tensor, guidance: float = 1.0) -> ddim.Denoiser:
        """Return the prediction as a function of x_t and t, with classifier-free guidance, see `ddim.guided`.

        Args:
            conditions: codes of the vectors, (N,) int64.
            guidance: g; without effect on vectors without a condition.
        """

        def predict(x: Tensor, t: int) -> Tensor:
            times = torch.full_like(conditions, t)
            given: Tensor = self.denoiser(x, times, conditions)
            if guidance == 1 or not conditions.any():
                return given
            return ddim.guided((given, self.denoiser(x, times, torch.zeros_like(conditions))), guidance)

        return predict

    @torch.no_grad()
    def sample(
        self,
        conditions: Tensor,
        *,
        seed: int,
        first: int = 0,
        steps: int = 50,
        eta: float = 0.0,
        guidance: float = 1.0,
    ) -> Tensor:
        """Return latent vectors, (N, Z).

        Args:
            conditions: codes, (N,) int64.
            seed: random seed; the noise of vector i is a function of it and of first + i.
            first: index of the first vector.
            steps: evaluations of the network, 1 … T.
            eta: 0 is deterministic given the first noise, 1 the ancestral sampler.
            guidance: g, see `ddim.guided`.

        Raises:
            UsageError: a number of steps, η or g out of range.
        """
        if not 0 <= eta <= 1:
            raise UsageError(f"eta must be between 0 and 1, not {eta}")
        noise = self._noise(len(conditions), seed, first)
        predict = self.predictor(conditions, guidance)
        x = ddim.sample(
            predict, noise(), self.schedule, self.config.prediction, steps=steps, eta=eta, noise=noise if eta else None
        )
        return x * self.scale + self.mean

    @torch.no_grad()
    def encode(self, latents: Tensor, conditions: Tensor, *, steps: int = 50, iterations: int = 20) -> Tensor:
        """Return the noise x_T, (N, Z), that belongs to latent vectors (N, Z): `decode` inverts it; see `ddim.invert`."""
        x = (latents - self.mean) / self.scale
        predict = self.predictor(conditions)
        return ddim.invert(predict, x, self.schedule, self.config.prediction, steps=steps, iterations=iterations)

    @torch.no_grad()
    def decode(self, noise: Tensor, conditions: Tensor, *, steps: int = 50) -> Tensor:
        """Return the latent vectors, (N, Z), of noise x_T (N, Z), by deterministic sampling."""
        x = ddim.sample(self.predictor(conditions), noise, self.schedule, self.config.prediction, steps=steps)
        return x * self.scale + self.mean

    def _noise(self, n: int, seed: int, first: int) -> Callable[[], Tensor]:
        """Return a function that returns fresh standard normal numbers, (n, Z), a stream for each row."""
        streams = [np.random.default_rng([seed, first + i]) for i in range(n)]

        def fresh() -> Tensor:
            rows = np.stack([rng.standard_normal(self.config.features) for rng in streams])
            return torch.from_numpy(rows).to(self.mean)

        return fresh

    def save(self, folder: PathLike, latents_of: str) -> None:
        """Write `diffusion.safetensors` and `diffusion.json` into a model folder.

        Args:
            folder: of the model.
            latents_of: fingerprint of the model.
        """
        from safetensors.torch import save

        path = Path(folder)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        (path / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
        description = {
            "format": FORMAT,
            **asdict(self.config),
            "latents_of": latents_of,
            "weights_sha256": file_sha256(path / WEIGHTS),
        }
        write_text(path / DESCRIPTION, json.dumps(description, indent=2) + "\n")

    @classmethod
    def load(cls, folder: PathLike, latents_of: str, device: torch.device | str = "cpu") -> Self:
        """Return the latent diffusion in a model folder, ready to sample.

        Args:
            folder: of the model.
            latents_of: fingerprint of the model.
            device: where to compute.

        Raises:
            UsageError: the folder has none.
            BadInputError: it is damaged, of another format, or of another model's latent vectors.
        """
        from safetensors import SafetensorError

        path = Path(folder)
        again = "train it again (--recipe latent-diffusion), or copy the folder again"
        if not (path / DESCRIPTION).is_file():
            raise UsageError(
                f"{path} has no latent diffusion, which generates latent vectors",
                fix=f"train one: phylocli train FAMILIES --recipe latent-diffusion --latents {path} -o RUN",
            )
        try:
            found, tensors = read_described(path / DESCRIPTION, path / WEIGHTS, FORMAT)
            config = _config(found)
            with torch.device("meta"):
                wanted = {name: tensor.shape for name, tensor in cls(config).state_dict().items()}
            if wanted != {name: tensor.shape for name, tensor in tensors.items()}:
                raise ValueError("the weights are of another architecture")
            diffusion = cls(config)
            diffusion.load_state_dict(tensors)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, UsageError) as error:
            why = str(error).split("\n", 1)[0] or type(error).__name__
            raise BadInputError(f"the latent diffusion in {path} cannot be read", why=why, fix=again) from error
        if found.get("latents_of") != latents_of:
            raise BadInputError(
                f"the latent diffusion in {path} is of another model's latent vectors",
                why="the fingerprints do not match",
                fix=again,
            )
        note_input(path / WEIGHTS)
        return diffusion.to(device).eval()


def _config(found: Mapping[str, object]) -> DiffusionArchitecture:
    """Return the configuration in diffusion.json.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    conditions = found["conditions"]
    if not isinstance(conditions, list) or not all(isinstance(name, str) for name in conditions):
        raise TypeError("conditions is not a list of names")
    sizes = {}
    for name in ("features", "times", "width", "depth"):
        value = found[name]
        if not isinstance(value, int) or not 1 <= value <= 65536:
            raise ValueError(f"{name} is {value!r:.50}")
        sizes[name] = value
    prediction: Prediction = "epsilon" if found["prediction"] == "epsilon" else "v"
    if found["prediction"] != prediction:
        raise ValueError(f"prediction is {found['prediction']!r:.50}")
    return DiffusionArchitecture(conditions=tuple(conditions), prediction=prediction, **sizes)


class Average(nn.Module):
    """Exponential moving averages of the weights of a network, which replace them after training.

    The coefficient rises to `decay`: min(decay, (1 + n) / (10 + n)) after n updates, so that the random initial weights are
    soon forgotten.

    Args:
        network: whose weights are averaged.
        decay: coefficient of the average in each update.

    Attributes:
        network: the network with averaged weights.
        updates: their number so far, part of every checkpoint.
    """

    updates: Tensor

    def __init__(self, network: Denoiser, decay: float) -> None:
        super().__init__()
        self.network: Denoiser = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, network: Denoiser) -> None:
        """Move the averages towards the present weights."""
        weight = 1 - ((1 + self.updates) / (10 + self.updates)).clamp(max=self.decay)  # on the device: no synchronisation
        self.updates += 1
        for average, now in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(now, weight.to(average.dtype))


def conditions_of(families: Sequence[str], clans: Sequence[str]) -> tuple[str, ...]:
    """Return the names of conditions: the families, then the clans, sorted and without repetition."""
    return (*sorted({*families}), *sorted({clan for clan in clans if clan} - {*families}))
