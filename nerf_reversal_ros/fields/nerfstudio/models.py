"""
Configuration of the Nerfacto models: the full size, and reduced ones for two CPU cores.

A reduced model trains in minutes on two cores.

References
----------
Tancik et al., "Nerfstudio: A Modular Framework for Neural Radiance Field Development", SIGGRAPH
2023. Deng et al., "Depth-supervised NeRF", CVPR 2022 (the depth loss).
"""

from dataclasses import dataclass
from typing import Any

from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.models.depth_nerfacto import DepthNerfactoModelConfig
from nerfstudio.models.nerfacto import NerfactoModelConfig
from nerfstudio.utils import external
import numpy as np
from scipy.ndimage import binary_dilation
import torch

from nerf_reversal_ros.core.config import NerfstudioConfig
from nerf_reversal_ros.core.geometry import FloatArray, make_pose, transform_points
from nerf_reversal_ros.fields.sim3 import make_sim3, scale_of
from nerf_reversal_ros.fields.training_data import TrainingData

BOX_VIEWS = 60
"""Depth images, evenly spaced, that the unit box is measured by."""
BOX_MARGIN = 1.1
"""Edge of the unit box of the field over the extent of the measured depth."""
DEPTH_STD_M = 0.1
"""Standard deviation of the depth loss around the measured depth at the first step [m]."""
DEPTH_STD_LAST_M = 0.02
"""The same at the last step; exponential decay between both."""
DEPTH_WEIGHT = 0.1
"""Weight of the depth loss of Depth-Nerfacto."""
MIN_CELL_M = 0.06
"""Minimum edge of a cell of `DepthOccupancyGrid` [m]."""
MAX_CELLS = 192
"""Maximum number of cells along the unit box: a grid of 28 MB."""


OCCUPIED_CELL_OPTICAL_DEPTH, OTHER_CELL_OPTICAL_DEPTH = 0.6, 1e-3
"""Optical depth of a cell near measured depth, and of any other."""
OCCUPANCY_SAMPLING_SETTINGS: dict[str, Any] = {
    'proposal_initial_sampler': 'uniform',
    'use_proposal_weight_anneal': False,
    'average_init_density': 20.0,
    'far_plane': 3.5,  # the diagonal of the unit box
    'num_proposal_samples_per_ray': (96,),
    'interlevel_loss_mult': 0.0,
}
"""Settings of a reduced Depth-Nerfacto, whose samples `DepthOccupancyGrid` proposes."""


def _density_net(resolution: int) -> dict[str, Any]:
    """Return the settings of a small proposal network up to a grid resolution."""
    return {
        'hidden_dim': 16,
        'log2_hashmap_size': 15,
        'num_levels': 5,
        'max_res': resolution,
        'use_linear': False,
    }


REDUCED_SETTINGS: dict[str, Any] = {
    'num_levels': 8,
    'max_res': 1024,
    'log2_hashmap_size': 17,
    'hidden_dim': 32,
    'hidden_dim_color': 32,
    'appearance_embed_dim': 8,
    'num_proposal_iterations': 1,
    'num_proposal_samples_per_ray': (64,),
    'num_nerf_samples_per_ray': 16,
    'proposal_net_args_list': [_density_net(128)],
    'proposal_warmup': 500,
    'proposal_weights_anneal_max_num_iters': 250,
}
"""Settings of a Nerfacto that trains in minutes on two CPU cores."""


@dataclass(frozen=True)
class TrainingBudget:
    """Size of the model, number of steps and of rays per step."""

    reduced: bool
    steps: int
    rays_per_step: int


def training_budget(config: NerfstudioConfig, device: torch.device) -> TrainingBudget:
    """Resolve the settings that depend on the device."""
    reduced = config.size == 'reduced' or (config.size == 'auto' and device.type == 'cpu')
    return TrainingBudget(
        reduced,
        config.steps or (2_000 if reduced else 10_000),
        config.rays_per_step or (1_024 if reduced else 4_096),
    )


def unit_box_from_map(data: TrainingData) -> FloatArray:
    """
    Fit the unit box of the field: the Sim(3) (4, 4) from the map to the cube from -1 to 1.

    The cube contains all cameras and the measured depth, without its outer 0.2 %. Without depth
    it contains the cameras alone, as in nerfstudio, whose scene contraction covers the rest.
    """
    points = [data.map_from_camera[:, :3, 3]]
    for index in data.sample_indices(BOX_VIEWS):
        points.append(data.view(index).points(8))
    all_points = np.concatenate(points)
    low, high = np.percentile(all_points, [0.2, 99.8], axis=0)
    low, high = np.minimum(low, points[0].min(0)), np.maximum(high, points[0].max(0))
    half_m = max(float(np.max(high - low)) / 2 * BOX_MARGIN, 0.1)
    return make_sim3(1 / half_m, make_pose(translation=-(low + high) / 2))


def nerfacto_model(
    kind: str,
    budget: TrainingBudget,
    data: TrainingData,
    field_from_map: FloatArray,
    device: torch.device,
) -> Any:
    """Set up a nerfstudio model; the full size uses tiny-cuda-nn on CUDA if it is installed."""
    scale = scale_of(field_from_map)
    has_tcnn = device.type == 'cuda' and external.TCNN_EXISTS
    settings: dict[str, Any] = {
        'implementation': 'tcnn' if has_tcnn and not budget.reduced else 'torch',
        'camera_optimizer': CameraOptimizerConfig(mode='off'),
        'near_plane': 0.05 * scale,
        **(REDUCED_SETTINGS if budget.reduced else {}),
    }
    if kind == 'depth-nerfacto':
        settings |= OCCUPANCY_SAMPLING_SETTINGS if budget.reduced else {}
        # The loss of nerfstudio 1.1.5 uses sigma where its formula has the variance.
        config: Any = DepthNerfactoModelConfig(
            **settings,
            depth_loss_mult=DEPTH_WEIGHT,
            should_decay_sigma=True,
            starting_depth_sigma=(DEPTH_STD_M * scale) ** 2,
            depth_sigma=(DEPTH_STD_LAST_M * scale) ** 2,
            sigma_decay_rate=(DEPTH_STD_LAST_M / DEPTH_STD_M) ** (4 / budget.steps),
        )
    else:
        config = NerfactoModelConfig(**settings)
    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    model = config.setup(scene_box=box, num_train_data=len(data.rgb))
    if budget.reduced and kind == 'depth-nerfacto':
        # Attributes of nerfstudio 1.1.5 that no setting reaches.
        model.proposal_networks = torch.nn.ModuleList()
        model.density_fns = [DepthOccupancyGrid(data, field_from_map)]
        model.proposal_sampler.pdf_sampler.histogram_padding = 5e-4
    return model


class DepthOccupancyGrid:
    """
    Occupancy grid of the measured depth, as the density that proposes samples.

    It replaces the proposal network of a reduced Depth-Nerfacto.
    """

    def __init__(self, data: TrainingData, field_from_map: FloatArray) -> None:
        cells = int(np.clip(2 / (MIN_CELL_M * scale_of(field_from_map)), 8, MAX_CELLS))
        occupied = np.zeros((cells,) * 3, bool)
        for index in data.sample_indices(len(data.rgb)):
            points = transform_points(field_from_map, data.view(index).points(2))
            x, y, z = np.clip((points + 1) / 2 * cells, 0, cells - 1).astype(int).T
            occupied[x, y, z] = True
        near = binary_dilation(occupied, np.ones((3, 3, 3), bool))
        density = np.where(near, OCCUPIED_CELL_OPTICAL_DEPTH, OTHER_CELL_OPTICAL_DEPTH) * cells / 2
        self.density = torch.from_numpy(density.astype(np.float32))

    def __call__(self, positions: torch.Tensor, times: Any = None) -> torch.Tensor:
        """Return densities (..., 1) at positions (..., 3) in the frame of the field."""
        self.density = self.density.to(positions.device)
        cells = len(self.density)
        x, y, z = ((positions + 1) / 2 * cells).long().clamp(0, cells - 1).unbind(-1)
        return self.density[x, y, z][..., None]
