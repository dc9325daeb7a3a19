"""
The relative pose of two rooms, by consensus of the images that both of them explain.

An image that both maps localize proposes a relative pose. Images that agree form a consensus; in
rooms that look alike there may be several. A link needs one that is clearly the largest, in each
direction that was walked. Its pose is fitted by the covariances of the localizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.building.link_search import SharedView, ViewSearch
from nerf_reversal_ros.core.geometry import (
    FloatArray,
    inverse,
    make_pose,
    pose_errors,
    rotate_covariance,
    shift_covariance,
)
from nerf_reversal_ros.core.metrics import error_vectors
from nerf_reversal_ros.core.rigid_motion import count_distinct, fit_motion

MIN_IMAGES = 4
"""Fewest images that agree: so many independent poses hardly do so by chance."""
MIN_DISTINCT_VIEWS = 3
"""Fewest of them that are taken from clearly different poses."""
MIN_SHARE, MIN_ONE_SIDED_SHARE = 0.5, 0.7
"""Smallest share of the localized images that agree, with both directions and with one."""
MAX_TILT_DEG = 5.0
"""Largest angle between the vertical axes of two rooms [deg]: each knows gravity to a degree."""
MAP_STD_M, MAP_STD_DEG = 0.01, 0.2
"""Standard deviation that maps add to each pose [m], [deg], each axis: its errors are shared by
images of one place, so no number of images removes them."""
MAX_INDEPENDENT = 8
"""Largest number of images whose errors count as independent."""


class _Views(NamedTuple):
    """N images that both rooms explain, of both directions."""

    a_from_camera: FloatArray
    """(N, 4, 4)."""
    b_from_camera: FloatArray
    """(N, 4, 4)."""
    covariance: FloatArray
    """(N, 6, 6) of the difference of both poses, axes of ``b``."""
    is_of_b: NDArray[np.bool_]
    """(N,) whether the image is of the walk through ``b``."""

    def subset(self, mask: NDArray[np.bool_]) -> '_Views':
        return _Views(
            self.a_from_camera[mask],
            self.b_from_camera[mask],
            self.covariance[mask],
            self.is_of_b[mask],
        )


@dataclass
class Link:
    """What was found between two rooms; without ``b_from_a`` there is no link."""

    a: str
    b: str
    tried: int = 0
    """Images of both walks that were tried in the other map."""
    accepted: tuple[int, int] = (0, 0)
    """Images of ``a`` localized in ``b``, and of ``b`` in ``a``."""
    agreeing: tuple[int, int] = (0, 0)
    """Those in the consensus."""
    b_from_a: FloatArray | None = None
    """(4, 4) relative pose of the map frames; None if too few images agree."""
    center: FloatArray = field(default_factory=lambda: np.zeros(3))
    """(3,) mean position of the agreeing cameras in ``a`` [m]."""
    covariance: FloatArray = field(default_factory=lambda: np.zeros((6, 6)))
    """(6, 6) of the pose of ``center`` in ``b``, fixed axes of ``b``."""
    residual_m: float | None = None
    """Median distance of the agreeing images from the link [m]."""
    residual_deg: float | None = None
    tilt_deg: float | None = None
    """Angle between the vertical axes of both rooms [deg]."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Further figures of checks, plain JSON."""
    reason: str = 'too few images of one room are localized in the other'
    """Why it is not taken; empty if it is."""

    @property
    def is_taken(self) -> bool:
        """Whether the rooms are placed by it."""
        return not self.reason

    @property
    def is_two_sided(self) -> bool:
        """Whether images of both walks agree."""
        return min(self.agreeing) > 0

    @property
    def std_m(self) -> float:
        """Standard deviation of the position in its most uncertain direction [m]."""
        return float(np.sqrt(np.linalg.eigvalsh(self.covariance[:3, :3])[-1]))

    @property
    def std_deg(self) -> float:
        """Standard deviation of the rotation about its most uncertain axis [deg]."""
        return float(np.degrees(np.sqrt(np.linalg.eigvalsh(self.covariance[3:, 3:])[-1])))

    def difference(self, b_from_a: FloatArray) -> FloatArray:
        """Return how far another relative pose (4, 4) is off (6,), at ``center``: [m], [rad]."""
        assert self.b_from_a is not None
        at_center = make_pose(None, self.center)
        return error_vectors((b_from_a @ at_center)[None], (self.b_from_a @ at_center)[None])[0]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for ``building.json``."""
        found = self.b_from_a is not None
        pose = [] if self.b_from_a is None else self.b_from_a.tolist()
        return {
            'rooms': [self.a, self.b],
            'taken': self.is_taken,
            'reason': self.reason,
            'images_tried': self.tried,
            'accepted': list(self.accepted),
            'agreeing': list(self.agreeing),
            'b_from_a': pose if found else None,
            'std_m': round(self.std_m, 5) if found else None,
            'std_deg': round(self.std_deg, 4) if found else None,
            'residual_m': _rounded(self.residual_m, 5),
            'residual_deg': _rounded(self.residual_deg, 4),
            'tilt_deg': _rounded(self.tilt_deg, 3),
            **self.figures,
        }


def find_link(
    a: str, b: str, a_in_b: ViewSearch, b_in_a: ViewSearch, *, knows_gravity: bool = True
) -> Link:
    """
    Find the relative pose of two rooms, and check it by itself.

    Parameters
    ----------
    a, b : str
        Names of the rooms.
    a_in_b, b_in_a : ViewSearch
        Images of the walk through ``a`` in the map of ``b``, and the reverse.
    knows_gravity : bool
        Whether z of both maps is up by more than the average camera.
    """
    accepted = len(a_in_b.views), len(b_in_a.views)
    link = Link(a, b, a_in_b.tried + b_in_a.tried, accepted)
    views = _join(a_in_b, b_in_a)
    found = _consensuses(views)
    if not found:
        if sum(accepted) >= MIN_IMAGES:
            link.reason = f'the {sum(accepted)} localized images disagree'
        return link
    counts = [_count_directions(views.subset(mask)) for mask in found]
    best = int(np.argmax([sum(count) for count in counts]))
    chosen = views.subset(found[best])
    link.agreeing = counts[best]
    _fit(link, chosen)
    link.reason = _contradiction(link, counts, best, knows_gravity)
    if not link.reason and count_distinct(chosen.a_from_camera, MIN_DISTINCT_VIEWS) < (
        MIN_DISTINCT_VIEWS
    ):
        link.reason = f'its images are fewer than {MIN_DISTINCT_VIEWS} different views'
    return link


def _join(a_in_b: ViewSearch, b_in_a: ViewSearch) -> _Views:
    """Return the images of both directions as poses in both rooms."""
    poses_a = [
        *(view.room_from_camera for view in a_in_b.views),
        *(view.other_from_camera for view in b_in_a.views),
    ]
    poses_b = [
        *(view.other_from_camera for view in a_in_b.views),
        *(view.room_from_camera for view in b_in_a.views),
    ]
    covariances = [
        *(_difference_covariance(view, view.other_from_camera) for view in a_in_b.views),
        *(_difference_covariance(view, view.room_from_camera) for view in b_in_a.views),
    ]
    is_of_b = np.repeat([False, True], [len(a_in_b.views), len(b_in_a.views)])
    floor = np.repeat(np.square([MAP_STD_M, np.radians(MAP_STD_DEG)]), 3)
    return _Views(
        np.reshape(poses_a, (-1, 4, 4)),
        np.reshape(poses_b, (-1, 4, 4)),
        np.reshape(covariances, (-1, 6, 6)) + np.diag(floor),
        is_of_b,
    )


def _difference_covariance(view: SharedView, b_from_camera: FloatArray) -> FloatArray:
    """Return the sum of the covariances (6, 6) of both poses of an image, in axes of b."""
    of_other = rotate_covariance(view.covariance, b_from_camera @ inverse(view.other_from_camera))
    of_room = rotate_covariance(
        view.room_covariance, b_from_camera @ inverse(view.room_from_camera)
    )
    return of_other + of_room


def _consensuses(views: _Views) -> list[NDArray[np.bool_]]:
    """Return masks (N,) of images that agree on one relative pose each, without overlap."""
    left, masks = np.ones(len(views.is_of_b), bool), []
    while left.sum() >= MIN_IMAGES:
        rows = np.flatnonzero(left)
        _, explained = fit_motion(views.b_from_camera[rows], views.a_from_camera[rows])
        if explained.sum() < MIN_IMAGES:
            break
        mask = np.zeros_like(left)
        mask[rows[explained]] = True
        masks.append(mask)
        left &= ~mask
    return masks


def _count_directions(views: _Views) -> tuple[int, int]:
    of_b = int(views.is_of_b.sum())
    return len(views.is_of_b) - of_b, of_b


def _fit(link: Link, views: _Views) -> None:
    """Fit the relative pose to images that agree, weighted by their covariances."""
    start, _ = fit_motion(views.b_from_camera, views.a_from_camera)
    link.center = views.a_from_camera[:, :3, 3].mean(0)
    center_in_b = start[:3, :3] @ link.center + start[:3, 3]
    whitening = np.linalg.inv(np.linalg.cholesky(views.covariance))

    def moved(step: FloatArray) -> FloatArray:
        """Return the pose after a shift and a rotation about the center, fixed axes of b."""
        rotation = Rotation.from_rotvec(step[3:])
        shift = center_in_b + step[:3] - rotation.apply(center_in_b)
        return make_pose(rotation, shift) @ start

    def residuals(step: FloatArray) -> FloatArray:
        errors = error_vectors(views.b_from_camera, moved(step) @ views.a_from_camera)
        return (whitening @ errors[:, :, None]).ravel()

    solution = least_squares(residuals, np.zeros(6), loss='cauchy', f_scale=2.0)
    link.b_from_a = moved(solution.x)
    count = len(views.is_of_b)
    independent = count_distinct(views.a_from_camera, MAX_INDEPENDENT)
    misfit = max(1.0, float(np.mean(np.square(residuals(solution.x)))))
    covariance = np.linalg.inv(solution.jac.T @ solution.jac) * misfit * count / independent
    floor = np.repeat(np.square([MAP_STD_M, np.radians(MAP_STD_DEG)]), 3)
    link.covariance = covariance + np.diag(floor)
    errors = pose_errors(views.b_from_camera, link.b_from_a @ views.a_from_camera)
    link.residual_m = float(np.median(errors.translation))
    link.residual_deg = float(np.degrees(np.median(errors.rotation)))
    up = link.b_from_a[:3, 2]
    link.tilt_deg = float(np.degrees(np.arctan2(np.hypot(up[0], up[1]), up[2])))


def _contradiction(
    link: Link, counts: Sequence[tuple[int, int]], best: int, knows_gravity: bool
) -> str:
    """Return what speaks against a consensus, in words; empty if nothing does."""
    for side, name, other in ((0, link.a, link.b), (1, link.b, link.a)):
        votes = [count[side] for count in counts]
        if max(votes) > votes[best]:
            return (
                f'the images of {name} in {other} put it elsewhere: {max(votes)} agree on another'
                f' place, {votes[best]} on this one'
            )
    agreeing, accepted = sum(link.agreeing), sum(link.accepted)
    needed = MIN_SHARE if link.is_two_sided else MIN_ONE_SIDED_SHARE
    if agreeing < needed * accepted:
        return f'only {agreeing} of {accepted} localized images agree (needed: {needed:.0%})'
    if knows_gravity and link.tilt_deg is not None and link.tilt_deg > MAX_TILT_DEG:
        return (
            f'it would tilt one room by {link.tilt_deg:.1f} deg against gravity'
            f' (allowed: {MAX_TILT_DEG:g})'
        )
    return ''


def covariance_at_origin(link: Link) -> FloatArray:
    """Return the covariance (6, 6) of ``b_from_a``: of the origin of a in b, fixed axes of b."""
    assert link.b_from_a is not None
    return shift_covariance(link.covariance, -link.b_from_a[:3, :3] @ link.center)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
