"""
Absolute pose regression (APR) and image retrieval: pose hypotheses of one query image.

An image codec and a small network give a pose within some ten centimeters, its covariance and a
novelty score. The codes also retrieve the most similar indexed views as further hypotheses.
`CpuRegressor` does the same on a CPU without PyTorch; `regressor.training` makes a
`PoseRegressor`.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.parallel import single_threaded
from nerf_reversal_ros.regressor.coordinate_network import Network
from nerf_reversal_ros.regressor.image_codec import ImageCodec, to_tensors
from nerf_reversal_ros.regressor.pose_network import NetworkInput, NetworkOutput
from nerf_reversal_ros.regressor.regressed_pose import (
    make_regressed_pose,
    RegressedPose,
    resample_query,
    retrieve_poses,
    ROLL_GAIN,
    ROLL_NOVELTY,
    ROLLS_DEG,
    SMALL_TURNS_DEG,
    WHITENING_EXPONENT,
)
from nerf_reversal_ros.regressor.regressor_file import as_map_error, Groups, read_regressor
from nerf_reversal_ros.regressor.regressor_tensors import (
    codec_from_groups,
    network_from_file,
    tensor_groups,
    write_regressor,
)
from nerf_reversal_ros.regressor.turned_copies import TurnedCopies

SCALARS = (
    'position_mean',
    'position_scale',
    'covariance_scale',
    'typical_distance',
)
"""Trained numbers beside the network, of shapes (3,), (3,), () and ()."""


class PoseRegressor:
    """
    A trained pose regressor with an index of views for retrieval.

    Attributes
    ----------
    camera : Camera
        The canonical camera that query images are resampled to.
    network_input : NetworkInput
        Input of the network.
    index_poses : (N, 4, 4) array
        ``map_from_camera`` of the indexed views, mapping images and synthetic views.
    report : dict
        Plain JSON on the training: retained variance, losses, validation errors, errors of the
        mean pose.
    """

    def __init__(
        self,
        camera: Camera,
        network_input: NetworkInput,
        codec: ImageCodec,
        network: Network,
        index_codes: Tensor,
        index_poses: FloatArray,
        scalars: dict[str, Tensor],
        report: dict[str, Any],
    ) -> None:
        self.camera = camera
        self.network_input = network_input
        self.report = report
        self._codec = codec
        self._network = network.eval()
        self._index_codes = index_codes
        self.index_poses = index_poses
        self._scalars = scalars
        self._make_copies(codec.mean.device)
        self._index = index_codes.float() * code_weights(codec)
        self._index_squared = self._index.square().sum(1)

    @single_threaded
    @torch.inference_mode()
    def regress(self, rgb: NDArray[np.uint8], camera: Camera) -> RegressedPose:
        """Regress the pose of one image, see `Regressor.regress`."""
        outputs, codes = self.infer(*self._resample(rgb, camera))
        return self._regressed_pose(outputs, self._distances(codes)[0], np.eye(3))

    @single_threaded
    @torch.inference_mode()
    def search_roll(
        self, rgb: NDArray[np.uint8], camera: Camera, upright: RegressedPose
    ) -> RegressedPose:
        """Regress the image rolled if that helps, see `Regressor.search_roll`."""
        if upright.novelty <= ROLL_NOVELTY:
            return upright
        copies, valid = self._rolled.make(*self._resample(rgb, camera))
        distances = self._distances(self._codec.encode(self._codec.preprocess(copies, valid)))
        best = int(distances.amin(1).argmin())
        if float(distances[best].min()) >= ROLL_GAIN * upright.distances.min():
            return upright
        chosen = slice(best, best + 1)
        outputs, _ = self.infer(copies[chosen], valid[chosen])
        turn = self._rolled.camera_from_copy[best].cpu().numpy().astype(np.float64)
        return self._regressed_pose(outputs, distances[best], turn)

    def _resample(self, rgb: NDArray[np.uint8], camera: Camera) -> tuple[Tensor, Tensor]:
        """Return colors and valid mask, (1, 3, h, w) and (1, 1, h, w), in the canonical camera."""
        image = resample_query(rgb, camera, self.camera)
        return to_tensors(image.rgb[None], image.valid[None], self.device)

    def _regressed_pose(
        self, outputs: NetworkOutput, distances: Tensor, camera_from_copy: FloatArray
    ) -> RegressedPose:
        """Return the pose of one image from the network's output for its (rolled) copy."""
        return make_regressed_pose(
            outputs.position[0].cpu().numpy(),
            outputs.rotation[0].cpu().numpy().astype(np.float64),
            outputs.information_factor[0].cpu().numpy().astype(np.float64),
            distances.cpu().numpy(),
            camera_from_copy,
            covariance_scale=float(self._scalars['covariance_scale']),
            typical_distance=float(self._scalars['typical_distance']),
        )

    def _distances(self, codes: Tensor) -> Tensor:
        """Return the distances (M, N) of M codes to those of the indexed views."""
        weighted = codes * code_weights(self._codec)
        squared = self._index_squared - 2 * (weighted @ self._index.T)
        return (squared + weighted.square().sum(1, keepdim=True)).clamp(min=0.0).sqrt()

    def _make_copies(self, device: str | torch.device) -> None:
        self._copies = TurnedCopies(self.camera, SMALL_TURNS_DEG, device)
        self._rolled = TurnedCopies(self.camera, ROLLS_DEG, device)

    @torch.inference_mode()
    def infer(self, rgb: Tensor, valid: Tensor) -> tuple[NetworkOutput, Tensor]:
        """
        Infer poses and codes of images of the canonical camera.

        The poses are means over slightly turned copies of each image.

        Parameters
        ----------
        rgb, valid : (N, 3, h, w) and (N, 1, h, w) tensors
            Colors in [0, 1], and 1 where a pixel carries data, else 0.

        Returns
        -------
        NetworkOutput, (N, K) tensor
            Poses with information factors, and codes.
        """
        codec, scalars = self._codec, self._scalars
        images = codec.preprocess(*self._copies.make(rgb, valid))
        unturned = slice(None, None, len(self._copies))
        inputs = network_inputs(self.network_input, codec, images, self.camera)
        outputs = NetworkOutput(
            self._network.pose_numbers(self._network(inputs)),
            scalars['position_mean'],
            scalars['position_scale'],
        )
        poses = self._copies.mean_pose(outputs.position, outputs.rotation)
        outputs.position, outputs.rotation = poses
        outputs.information_factor = outputs.information_factor[unturned]
        outputs.log_diagonal = outputs.log_diagonal[unturned]
        return outputs, codec.encode(images[unturned])

    def retrieve(self, regression: RegressedPose, count: int) -> FloatArray:
        """Return poses of similar views, see `retrieve_poses`."""
        return retrieve_poses(self.index_poses, regression, count)

    def moved_to(self, device: str) -> 'PoseRegressor':
        """Return the regressor on a device."""
        self.to(device)
        return self

    @property
    def device_type(self) -> str:
        """Device of the inference, ``cpu`` or ``cuda``."""
        return self.device.type

    @property
    def device(self) -> torch.device:
        """Device of the inference."""
        return self._index.device

    def to(self, device: str | torch.device) -> None:
        """Move all tensors to a device; inference runs there from now on."""
        codec, camera = self._codec, self.camera
        moved = {name: value.to(device) for name, value in codec.tensors().items()}
        self._codec = type(codec).from_tensors(moved, camera.height, camera.width)
        self._network = self._network.to(device)
        self._make_copies(device)
        self._scalars = {name: value.to(device) for name, value in self._scalars.items()}
        self._index_codes, self._index = self._index_codes.to(device), self._index.to(device)
        self._index_squared = self._index_squared.to(device)

    def save(self, path: Path) -> None:
        """Write the regressor to one safetensors file with a JSON header."""
        groups = {
            'network': self._network.state_dict(),
            self._codec.kind: self._codec.tensors(),
            'numbers': self._scalars,
            'index': {
                'codes': self._index_codes,
                'poses': torch.from_numpy(self.index_poses),
            },
        }
        header = {
            'camera': self.camera.as_dict(),
            'compression': NetworkInput(self.network_input).value,
            'network': asdict(self._network.layout),
            'regresses': self._network.regresses,
            'report': self.report,
        }
        write_regressor(path, header, groups)

    @classmethod
    def load(cls, path: Path, device: str | torch.device = 'cpu') -> 'PoseRegressor':
        """
        Read a file that `save` wrote.

        Raises
        ------
        MapError
            If the file is missing, damaged, of another format version, or inconsistent.
        """
        header, groups = read_regressor(path)
        with as_map_error(path):
            return cls.from_groups(header, groups, device)

    @classmethod
    def from_groups(
        cls,
        header: dict[str, Any],
        arrays: Groups,
        device: str | torch.device,
    ) -> 'PoseRegressor':
        """
        Make a regressor from the header and the arrays of a file.

        Raises
        ------
        KeyError, TypeError, ValueError, RuntimeError, ImageError
            If they do not fit together.
        """
        groups = tensor_groups(arrays, device)
        camera, network_input = Camera(**header['camera']), NetworkInput(header['compression'])
        codec = codec_from_groups(groups, camera.height, camera.width)
        network = network_from_file(header, groups['network'], camera, len(codec.variance))
        index, scalars = groups['index'], groups['numbers']
        return cls(
            camera,
            network_input,
            codec,
            network.to(device),
            index['codes'],
            index['poses'].cpu().numpy(),
            {name: scalars[name] for name in SCALARS},
            header['report'],
        )


def network_inputs(
    network_input: NetworkInput, codec: ImageCodec, images: Tensor, camera: Camera
) -> Tensor:
    """Return the network's input for flat images (N, D)."""
    if network_input != NetworkInput.IMAGE:
        codes = codec.encode(images)
        if network_input == NetworkInput.CODE:
            return codes / codec.variance.sqrt()
        images = codec.decode(codes)
    return images.view(-1, 3, camera.height, camera.width)


def code_weights(codec: ImageCodec) -> Tensor:
    """Return the weights (K,) of the numbers of a code for distances between codes."""
    return codec.variance.clamp(min=1e-12) ** -WHITENING_EXPONENT
