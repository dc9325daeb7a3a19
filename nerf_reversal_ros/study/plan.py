"""Plan of a study: its experiments, the number of views, and the number of epochs."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from nerf_reversal_ros.baselines.original_networks import LONGER_SIDE_PX, NetworkKind
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.regressor.pose_network import NetworkInput

NETWORK_INPUTS = {
    'raw': ('none', NetworkInput.IMAGE),
    'PCA reconstruction': ('pca', NetworkInput.RECONSTRUCTION),
    'PCA components': ('pca', NetworkInput.CODE),
    'VAE reconstruction': ('vae', NetworkInput.RECONSTRUCTION),
    'VAE latents': ('vae', NetworkInput.CODE),
}
"""Inputs of the study's networks: kind of the image codec (`RegressorConfig.compression`), and
what of it the network takes."""
FULL_SIZE_PX = 960
"""Longer side of the larger images of the original project."""
MIN_SIDE_PX = 32
"""Least longer side of an image: the networks halve images three times by max pooling."""


class Experiment(NamedTuple):
    """One network to train."""

    network: NetworkKind
    sees: str
    """One of `NETWORK_INPUTS`."""
    views: int
    """Synthetic views in its training data."""
    filtered: bool = True
    """Whether unusable synthetic views are rejected, as a build does."""
    full_size: bool = False
    """Whether its images have the width `StudyPlan.full_width`."""

    @property
    def compression(self) -> str:
        """Kind of the image codec, as in `RegressorConfig.compression`."""
        return NETWORK_INPUTS[self.sees][0]

    @property
    def network_input(self) -> NetworkInput:
        """Input of the network."""
        return NETWORK_INPUTS[self.sees][1]

    @property
    def name(self) -> str:
        """Name that no other experiment of a plan has."""
        size = ' full size' if self.full_size else ''
        rejection = '' if self.filtered else ', unfiltered'
        return f'{self.network.upper()}{size}, {self.sees}, {self.views} views{rejection}'

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as in a row of study.json."""
        return {
            'network': self.network,
            'sees': self.sees,
            'views': self.views,
            'filtered': self.filtered,
            'full_size': self.full_size,
        }


@dataclass(frozen=True)
class StudyPlan:
    """Experiments of a study, and the length of their training."""

    views: tuple[int, ...] = (1000, 4000, 14000)
    """Numbers of views for the CNN on PCA reconstructions. All other comparisons use the middle
    one, and the CNN on raw images the largest as well."""
    epochs: int = 40
    """Epochs, at most."""
    patience: int = 4
    """Epochs without improvement on the validation frames after which a training stops."""
    width: int = LONGER_SIDE_PX
    """Longer side of the images, at most the capture's [px]."""
    full_width: int = FULL_SIZE_PX
    """Longer side of the images of full size, at most the capture's [px]."""
    full_views: int = 1000
    """Views of full size, which are slow to render."""
    bfloat16: bool = False
    """Whether the CNNs compute in bfloat16. Their weights and the optimizer stay in float32."""
    only: tuple[str, ...] = ()
    """Parts of names: only experiments with one of them are run, or all if empty."""

    def __post_init__(self) -> None:
        """
        Check that there is something to train.

        Raises
        ------
        ConfigError
            If a number is too small, or if ``only`` matches no experiment.
        """
        if (
            not self.views
            or min(*self.views, self.full_views) < 2
            or min(self.epochs, self.patience) < 1
        ):
            raise ConfigError(
                'a study needs at least 2 views, 1 epoch and a patience of 1, got views'
                f' {",".join(map(str, self.views)) or "none"}, full-views {self.full_views},'
                f' epochs {self.epochs}, patience {self.patience}'
            )
        narrowest = min(self.width, self.full_width)
        if narrowest < MIN_SIDE_PX:
            raise ConfigError(
                f'width {narrowest} is too small for three max-pooling layers: '
                + remedies.WIDER_STUDY.format(px=MIN_SIDE_PX)
            )
        if not self.experiments():
            names = '; '.join(each.name for each in replace(self, only=()).experiments())
            raise ConfigError(
                f'only {",".join(self.only)} matches no experiment: '
                + remedies.EXPERIMENTS.format(names=names)
            )

    def experiments(self) -> list[Experiment]:
        """List the experiments, each one once."""
        counts = sorted(set(self.views))
        middle = counts[len(counts) // 2]
        candidates = [
            *(Experiment('cnn', 'PCA reconstruction', count) for count in counts),
            Experiment('mlp', 'PCA reconstruction', middle),
            *(Experiment('cnn', 'raw', count) for count in (middle, counts[-1])),
            Experiment('mlp', 'raw', middle),
            Experiment('mlp', 'PCA components', middle),
            Experiment('cnn', 'VAE reconstruction', middle),
            Experiment('mlp', 'VAE latents', middle),
            Experiment('cnn', 'PCA reconstruction', middle, filtered=False),
            Experiment('cnn', 'raw', self.full_views),
            Experiment('cnn', 'raw', self.full_views, full_size=True),
        ]
        chosen = [
            candidate
            for candidate in candidates
            if any(text in candidate.name for text in self.only or ('',))
        ]
        return list(dict.fromkeys(chosen))

    def max_views(self, experiment: Experiment) -> int:
        """Return the views to render for all experiments of the same image size and filter."""
        return max(
            other.views
            for other in self.experiments()
            if (other.filtered, other.full_size) == (experiment.filtered, experiment.full_size)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as under ``plan`` of study.json."""
        return {
            'views': list(self.views),
            'epochs': self.epochs,
            'patience': self.patience,
            'width': self.width,
            'full_width': self.full_width,
            'full_views': self.full_views,
            'bfloat16': self.bfloat16,
            'only': list(self.only),
        }
