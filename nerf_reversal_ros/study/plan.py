"""What the study trains: its rows, how many of them, and for how long."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from nerf_reversal_ros.baselines.original_networks import LONGER_SIDE_PX, NetworkKind
from nerf_reversal_ros.core.errors import ConfigError

NETWORK_INPUTS = {
    'raw': ('none', 'none'),
    'PCA reconstruction': ('pca', 'reconstruction'),
    'PCA components': ('pca', 'components'),
    'VAE reconstruction': ('vae', 'reconstruction'),
    'VAE latents': ('vae', 'components'),
}
"""What a network may see: the names of compression and of what is seen of it elsewhere."""
FULL_SIZE_PX = 960
"""Longer side of the seed's larger pictures."""
MIN_SIDE_PX = 32
"""Three max-poolings leave something of pictures of this size."""


class Experiment(NamedTuple):
    """One network to train."""

    network: NetworkKind
    sees: str
    """One of `NETWORK_INPUTS`."""
    views: int
    filtered: bool = True
    """Whether views that could mislead were rejected."""
    full_size: bool = False

    @property
    def compression(self) -> str:
        """Tell the code of pictures, as `RegressorConfig.compression` does."""
        return NETWORK_INPUTS[self.sees][0]

    @property
    def network_sees(self) -> str:
        """Tell what the network sees of the code, as `PoseRegressor.network_sees` does."""
        return NETWORK_INPUTS[self.sees][1]

    @property
    def name(self) -> str:
        """Tell the row from all others."""
        size = ' full size' if self.full_size else ''
        rejected = '' if self.filtered else ', unfiltered'
        return f'{self.network.upper()}{size}, {self.sees}, {self.views} views{rejected}'


@dataclass(frozen=True)
class StudyPlan:
    """What is trained, and for how long."""

    views: tuple[int, ...] = (1000, 4000, 14000)
    """Numbers of views for the CNN on PCA reconstructions; all else is compared at the middle."""
    epochs: int = 10
    width: int = LONGER_SIDE_PX
    """Longer side of the pictures, at most the capture's [px]."""
    full_width: int = FULL_SIZE_PX
    """Longer side of those of the full size, at most the capture's [px]."""
    full_views: int = 200
    """Views of the full size, which are slow to render."""
    only: tuple[str, ...] = ()
    """Only rows whose names contain one of these texts; all if there is none."""

    def __post_init__(self) -> None:
        """Refuse a plan of nothing, and one whose only rows do not exist."""
        if not self.views or min(*self.views, self.full_views) < 2 or self.epochs < 1:
            raise ConfigError(
                'a study needs 2 views and 1 epoch at least, got views'
                f' {",".join(map(str, self.views)) or "none"}, full-views {self.full_views},'
                f' epochs {self.epochs}'
            )
        narrowest = min(self.width, self.full_width)
        if narrowest < MIN_SIDE_PX:
            raise ConfigError(
                f'width {narrowest} is too small for three max-poolings: take {MIN_SIDE_PX} px at'
                ' least'
            )
        if not self.experiments():
            names = '; '.join(row.name for row in replace(self, only=()).experiments())
            raise ConfigError(f'only {",".join(self.only)} leaves no row of: {names}')

    def experiments(self) -> list[Experiment]:
        """List what is to be trained."""
        counts = sorted(set(self.views))
        middle = counts[len(counts) // 2]
        rows = [
            *(Experiment('cnn', 'PCA reconstruction', count) for count in counts),
            Experiment('mlp', 'PCA reconstruction', middle),
            Experiment('cnn', 'raw', middle),
            Experiment('mlp', 'raw', middle),
            Experiment('mlp', 'PCA components', middle),
            Experiment('cnn', 'VAE reconstruction', middle),
            Experiment('mlp', 'VAE latents', middle),
            Experiment('cnn', 'PCA reconstruction', middle, filtered=False),
            Experiment('cnn', 'raw', self.full_views),
            Experiment('cnn', 'raw', self.full_views, full_size=True),
        ]
        chosen = [row for row in rows if any(text in row.name for text in self.only or ('',))]
        return list(dict.fromkeys(chosen))

    def max_views(self, row: Experiment) -> int:
        """Return how many views are rendered for all rows of this one's size and filter."""
        return max(
            other.views
            for other in self.experiments()
            if (other.filtered, other.full_size) == (row.filtered, row.full_size)
        )
