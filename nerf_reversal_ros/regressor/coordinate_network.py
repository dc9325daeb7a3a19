"""
The coordinate network: regresses which place of the map each part of an image shows.

For each cell of an image the network tells the place in the map, the depth and a weight. The pose
is the one that brings the cells' points from the camera to their places best. Parts of an image
look alike from many poses, so that this is right farther from the training poses than a pose that
is regressed from the whole image.

References
----------
Shotton et al., "Scene Coordinate Regression Forests", CVPR 2013. Sattler et al., "Understanding
the Limitations of CNN-based Absolute Camera Pose Regression", CVPR 2019.
"""

from dataclasses import dataclass
import math
from typing import ClassVar, NamedTuple

import torch
from torch import nn, Tensor

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.regressor.layers import Bottleneck, convolution, fold_batch_norms
from nerf_reversal_ros.regressor.numpy_network import (
    CELL_PX,
    FACTOR_NUMBERS,
    MAX_LOG_DEPTH,
    MAX_LOG_WEIGHT,
)
from nerf_reversal_ros.regressor.pose_network import nearest_rotation, PoseNetwork

MIN_SPREAD_M = 0.1
"""Least spread of the map's points, for a scene without extent."""
REGULARIZATION = 1e-3
"""Share of the points' spread that is added to it, so that gradients are bounded."""
POINT_UNIT_M, LOG_DEPTH_UNIT = 0.1, 0.1
"""Errors of equal weight in the loss, as 0.1 m of the pose."""
MIN_LABEL_DEPTH_M = 0.1
"""Nearer points are no labels."""
SOFT_M = 0.01
"""Below this the loss of a place is quadratic [m]."""


@dataclass(frozen=True)
class CoordinateLayout:
    """Sizes of the layers of a coordinate network."""

    patch: int = 48
    """Features of each patch of 4 x 4 pixels."""
    cell: int = 128
    """Features of each cell."""
    coarse: int = 128
    """Features at half as many columns and rows."""
    blocks: tuple[int, ...] = (2, 2, 1)
    """Residual blocks of the cells, at the coarse level, and of the cells again."""
    dense: int = 128
    """Features of the dense layer, which sees the whole image."""


class CellPoints(NamedTuple):
    """Points that C cells of N images show."""

    in_map: Tensor
    """(N, C, 3) places in ``map`` [m]."""
    depth: Tensor
    """(N, C) along the optical axis [m]."""
    in_camera: Tensor
    """(N, C, 3) the same points in the frame of the camera [m]."""
    weight: Tensor
    """(N, C) shares in the pose; their sum is 1."""


class CoordinateNetwork(nn.Module):
    """Regress the points that the cells of an image of one camera show, and from them its pose."""

    center: Tensor
    scale: Tensor
    typical_depth: Tensor
    rays: Tensor

    regresses: ClassVar[str] = 'points'
    """Name in a file."""

    def __init__(
        self, camera: Camera, layout: CoordinateLayout | None = None, *, batch_norms: bool = True
    ) -> None:
        super().__init__()
        self.layout = layout or CoordinateLayout()
        sizes = self.layout
        first, second, third = sizes.blocks
        self.cells = nn.Sequential(
            *convolution(3, sizes.patch, CELL_PX // 2, CELL_PX // 2),
            *convolution(sizes.patch, sizes.cell, 2, 2),
            *(Bottleneck(sizes.cell) for _ in range(first)),
        )
        self.coarse = nn.Sequential(
            *convolution(sizes.cell, sizes.coarse, 3, 2),
            *(Bottleneck(sizes.coarse) for _ in range(second)),
        )
        self.padding = (-camera.width % CELL_PX, -camera.height % CELL_PX)
        rows, columns = (math.ceil(n / (2 * CELL_PX)) for n in (camera.height, camera.width))
        self.whole = nn.Sequential(
            nn.Flatten(), nn.Linear(sizes.coarse * rows * columns, sizes.dense), nn.ReLU()
        )
        self.context = nn.Linear(sizes.dense, sizes.coarse)
        self.lateral = nn.Conv2d(sizes.coarse, sizes.cell, 1)
        self.fine = nn.Sequential(*(Bottleneck(sizes.cell) for _ in range(third)))
        self.head = nn.Conv2d(sizes.cell, 5, 1)
        self.factor = nn.Linear(sizes.dense, FACTOR_NUMBERS)
        with torch.no_grad():
            for layer in (self.head, self.factor):
                layer.weight.normal_(std=0.01)
                layer.bias.zero_()  # type: ignore[union-attr]
        self.register_buffer('center', torch.zeros(3))
        self.register_buffer('scale', torch.ones(3))
        self.register_buffer('typical_depth', torch.ones(()))
        self.register_buffer('rays', _cell_rays(camera), persistent=False)
        if not batch_norms:
            fold_batch_norms(self)

    @torch.no_grad()
    def set_scene(self, points: Tensor, depth: Tensor) -> None:
        """Start from the middle of points (N, 3) of the map, seen at depths (N,) [m]."""
        if len(points):
            self.center.copy_(points.median(0).values.half())
            self.scale.copy_(points.std(0, unbiased=False).clamp(min=MIN_SPREAD_M).half())
            self.typical_depth.copy_(depth.median().half())

    def forward(self, images: Tensor) -> Tensor:
        """Regress raw outputs (N, 5 * C + 21) from images (N, 3, h, w)."""
        right, bottom = self.padding
        cells = self.cells(nn.functional.pad(images, (0, right, 0, bottom)))
        coarse = self.coarse(cells)
        whole = self.whole(coarse)
        coarse = self.lateral(coarse + self.context(whole)[:, :, None, None])
        spread = nn.functional.interpolate(coarse, scale_factor=2.0)
        spread = spread[:, :, : cells.shape[2], : cells.shape[3]]
        numbers = self.head(self.fine(torch.relu(cells + spread)))
        return torch.cat([numbers.flatten(1), self.factor(whole)], 1)

    def points(self, raw: Tensor) -> CellPoints:
        """Return the points of raw outputs."""
        numbers = raw[:, :-FACTOR_NUMBERS].unflatten(1, (5, -1)).mT
        limited = numbers[..., 3].clamp(-MAX_LOG_DEPTH, MAX_LOG_DEPTH)
        depth = self.typical_depth * limited.exp()
        log_weight = MAX_LOG_WEIGHT * torch.tanh(numbers[..., 4] / MAX_LOG_WEIGHT)
        return CellPoints(
            numbers[..., :3] * self.scale + self.center,
            depth,
            self.rays * depth[..., None],
            torch.softmax(log_weight, 1),
        )

    def pose_numbers(self, raw: Tensor) -> Tensor:
        """Return what a `PoseNetwork` regresses, (N, 30); positions are in ``map`` [m]."""
        points = self.points(raw)
        rotation, position = fit_pose(points)
        columns = rotation[:, :, :2].mT.flatten(1)
        return torch.cat([position, columns, raw[:, -FACTOR_NUMBERS:]], 1)

    def point_loss(self, raw: Tensor, in_map: Tensor, depth: Tensor) -> Tensor:
        """Return the mean error of points at places (N, C, 3) and depths (N, C), 0 if unknown."""
        points, known = self.points(raw), depth > 0.0
        distance = ((points.in_map - in_map).square().sum(-1) + SOFT_M**2).sqrt()
        ratio = (points.depth / torch.where(known, depth, 1.0)).log().abs()
        error = distance / POINT_UNIT_M + ratio / LOG_DEPTH_UNIT
        return error.where(known, 0.0).sum() / known.sum().clamp(min=1)


Network = PoseNetwork | CoordinateNetwork
"""Of codes, or of older files; of images."""


def cell_centers(images: Tensor) -> Tensor:
    """Average the 4 pixels around the center of each cell: (N, h, w, K) to (N, C, K)."""
    rows, columns = (
        torch.stack([first, first + 1]).clamp(max=size - 1)
        for size in images.shape[1:3]
        for first in [torch.arange(0, size, CELL_PX) + CELL_PX // 2 - 1]
    )
    return images[:, rows][:, :, :, columns].mean((1, 3)).flatten(1, 2)


def cell_labels(
    views: tuple[Tensor, Tensor], pixels: Tensor, camera: Camera, camera_from_target: Tensor
) -> tuple[Tensor, Tensor]:
    """
    Return the points that the cells of moved images show.

    Parameters
    ----------
    views : (N, h, w) and (N, 4, 4) tensors
        Depth of the source images, 0 where it is unknown, and their poses ``map_from_camera``.
    pixels : (N, h, w, 2) tensor
        Where in the source images the pixels of the moved ones come from.
    camera : Camera
        Camera of all images.
    camera_from_target : (N, 4, 4) tensor
        The motions.

    Returns
    -------
    (N, C, 3), (N, C) tensor
        Places in ``map``, and depth in the moved images, 0 where it is unknown [m].
    """
    depth, poses = views
    centers = cell_centers(pixels)
    last = centers.new_tensor([camera.width - 1, camera.height - 1])
    column, row = centers.round().long().clamp(min=0).minimum(last.long()).unbind(-1)
    source_depth = depth[torch.arange(len(depth), device=depth.device)[:, None], row, column]
    focal, middle = centers.new_tensor([[camera.fx, camera.fy], [camera.cx, camera.cy]])
    rays = torch.cat([(centers - middle) / focal, torch.ones_like(centers[..., :1])], -1)
    in_source = rays * source_depth[..., None]
    shift = camera_from_target[:, None, :3, 3]
    target_depth = ((in_source - shift) @ camera_from_target[:, :3, :3])[..., 2]
    within = ((centers > -0.5) & (centers < last + 0.5)).all(-1)
    known = within & (source_depth > 0.0) & (target_depth > MIN_LABEL_DEPTH_M)
    in_map = in_source @ poses[:, :3, :3].mT + poses[:, None, :3, 3]
    return in_map, target_depth.where(known, 0.0)


def scene_labels(depth: Tensor, poses: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Return places (K, 3) and depths (K,) that the cells of unmoved images show, where known."""
    v, u = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing='ij')
    pixels = torch.stack([u, v], -1).to(depth).expand(len(depth), -1, -1, -1)
    motions = torch.eye(4).to(depth).expand(len(depth), 4, 4)
    in_map, cell_depth = cell_labels((depth, poses), pixels, camera, motions)
    return in_map[cell_depth > 0.0], cell_depth[cell_depth > 0.0]


def _cell_rays(camera: Camera) -> Tensor:
    """Return directions (C, 3) to the cells' centers, of depth 1."""
    rays = torch.from_numpy(camera.rays()).float()
    return cell_centers((rays / rays[..., 2:])[None])[0]


def fit_pose(points: CellPoints) -> tuple[Tensor, Tensor]:
    """
    Return rotations (N, 3, 3) and positions (N, 3) of the cameras that see points best.

    They minimize the weighted squared distances (Kabsch). Gradients follow from the condition of
    the minimum, which needs no derivative of a singular value decomposition.
    """
    weight = points.weight[..., None]
    map_mean = (weight * points.in_map).sum(1, keepdim=True)
    camera_mean = (weight * points.in_camera).sum(1, keepdim=True)
    in_map, in_camera = points.in_map - map_mean, points.in_camera - camera_mean
    covariance = (weight * in_map).mT @ in_camera
    rotation = nearest_rotation(covariance.detach())
    turned = covariance @ rotation.mT  # symmetric at the minimum
    axis = torch.stack(
        [
            turned[:, 2, 1] - turned[:, 1, 2],
            turned[:, 0, 2] - turned[:, 2, 0],
            turned[:, 1, 0] - turned[:, 0, 1],
        ],
        1,
    )
    at_minimum = turned.detach()
    spread = at_minimum.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    identity = torch.eye(3, dtype=spread.dtype, device=spread.device)
    symmetric = 0.5 * (at_minimum + at_minimum.mT)
    floor = REGULARIZATION * (weight * in_camera.square()).sum((1, 2)).detach()[:, None, None]
    hessian = (spread + floor + 1e-6) * identity - symmetric
    turn = torch.linalg.solve(hessian, axis[..., None])
    rotation = rotation + torch.linalg.cross(turn.expand(-1, -1, 3), rotation, dim=1)
    return rotation, (map_mean - camera_mean @ rotation.mT)[:, 0]
