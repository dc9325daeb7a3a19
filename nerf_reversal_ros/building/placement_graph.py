"""
Poses of rooms from links: a pose graph, solved by GTSAM, whose loops test the links.

Rooms are nodes, links are factors with their covariance, and so is gravity. A known placement is a
link with the building itself. Where links form a loop, each is compared with what the others say.
The one that differs most is refused, until all loops close; in a single loop, where all differ
equally, that is the least certain one.

Without gtsam the rooms are placed along the most certain links. Loops are then not averaged, and a
link that closes one is only compared with the others.

References
----------
Dellaert and Kaess, Factor Graphs for Robot Perception, 2017. Testing one measurement after another
against the rest is Baarda's data snooping, A Testing Procedure for Use in Geodetic Networks, 1968.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.stats import chi2

from nerf_reversal_ros.building.room_link import covariance_at_origin, Link
from nerf_reversal_ros.core.geometry import FloatArray, inverse, shift_covariance
from nerf_reversal_ros.core.outcome import CORRECT_WITHIN_DEG, CORRECT_WITHIN_M
from nerf_reversal_ros.odometry.pose_chain import fixed_axes_covariance, tangent_covariance

GATE = 0.999
"""Confidence of the chi-squared test of a link against a loop."""
GRAVITY_STD_DEG = 1.0
"""Standard deviation of the vertical axis of a room [deg], each of two horizontal axes."""
KNOWN_STD_M, KNOWN_STD_DEG = 1e-3, 0.01
"""Standard deviation of a known placement [m], [deg]: next to links it is exact."""
CHI2_LIMIT = float(chi2.ppf(GATE, 6))
"""Largest squared Mahalanobis distance of a link in a loop that closes."""
BUILDING = ''
"""Name of the node of the building, which no room has."""


@dataclass(frozen=True)
class LoopError:
    """How far a link is from what the other links of its loops say."""

    difference: FloatArray
    """(6,) at the center of the link: [m], rotation vector [rad]."""
    chi2: float
    """Squared Mahalanobis distance, 6 degrees of freedom; the squared ratio to the limits of a
    correct pose, times `CHI2_LIMIT`, without gtsam."""

    @property
    def distance_m(self) -> float:
        """Distance [m]."""
        return float(np.linalg.norm(self.difference[:3]))

    @property
    def angle_deg(self) -> float:
        """Angle [deg]."""
        return float(np.degrees(np.linalg.norm(self.difference[3:])))


class RoomGraph:
    """
    Rooms and the links between them.

    Parameters
    ----------
    names : sequence of str
        Rooms in the order of the plan.
    known : mapping of (4, 4) arrays
        Known placements, ``building_from_room``.
    upright : collection of str
        Rooms whose z axis is known to be up.
    gtsam : module or None
        None: see the module.
    """

    def __init__(
        self,
        names: Sequence[str],
        known: Mapping[str, FloatArray],
        upright: Sequence[str],
        gtsam: Any | None,
    ) -> None:
        self.names = list(names)
        self.known = dict(known)
        self._upright, self._gtsam = set(upright), gtsam
        variance = np.square([KNOWN_STD_M, np.radians(KNOWN_STD_DEG)])
        self._known_links = [
            Link(
                name,
                BUILDING,
                b_from_a=pose,
                covariance=np.diag(np.repeat(variance, 3)),
                reason='',
            )
            for name, pose in known.items()
        ]

    def groups(self, links: Sequence[Link]) -> list[list[str]]:
        """
        Return the rooms that are linked with each other, the component of the building first.

        Without known placements that is the largest one, of equal ones the first of the plan.
        Rooms are in the order of the plan.
        """
        nodes = self._nodes()
        _, labels = connected_components(self._adjacency(links), directed=False)
        groups: dict[int, list[str]] = {}
        for node, label in zip(nodes, labels.tolist(), strict=True):
            groups.setdefault(label, []).append(node)
        if not self.known:
            return sorted(groups.values(), key=len, reverse=True)
        of_building = groups.pop(int(labels[-1]))
        rest = sorted(groups.values(), key=len, reverse=True)
        return [of_building[:-1], *rest]

    def solve(self, component: Sequence[str], links: Sequence[Link]) -> dict[str, FloatArray]:
        """
        Return the poses of the rooms of a component.

        They are in the frame of the building if one is known, else in that of the first room.
        """
        root = BUILDING if set(component) & set(self.known) else component[0]
        poses, _ = self._solve(root, links)
        return {name: self.known.get(name, poses[name]) for name in component}

    def tree_path(self, a: str, b: str, links: Sequence[Link]) -> list[Link]:
        """Return the most certain links that lead from one room to another; known ones are not."""
        nodes = self._nodes()
        tree = minimum_spanning_tree(self._adjacency(links))
        order, before = breadth_first_order(tree, nodes.index(a), directed=False)
        path, node = [], nodes.index(b)
        if node not in order:
            return []
        while before[node] >= 0:
            link = self._best_between(nodes[node], nodes[int(before[node])], links)
            if link not in self._known_links:
                path.append(link)
            node = int(before[node])
        return path

    def loop_errors(self, links: Sequence[Link]) -> list[LoopError | None]:
        """Compare each link with the others; None for a link that is in no loop."""
        return [self._loop_error(k, links) for k in range(len(links))]

    def _loop_error(self, number: int, links: Sequence[Link]) -> LoopError | None:
        link = links[number]
        others = [other for k, other in enumerate(links) if k != number]
        poses, marginal = self._solve(link.b, others, link.a)
        if link.a not in poses:
            return None
        difference = link.difference(poses[link.a])
        if marginal is None:
            ratio = max(
                float(np.linalg.norm(difference[:3])) / CORRECT_WITHIN_M,
                float(np.degrees(np.linalg.norm(difference[3:]))) / CORRECT_WITHIN_DEG,
            )
            return LoopError(difference, ratio**2 * CHI2_LIMIT)
        at_center = shift_covariance(marginal, poses[link.a][:3, :3] @ link.center)
        covariance = at_center + link.covariance
        return LoopError(difference, float(difference @ np.linalg.solve(covariance, difference)))

    def _solve(
        self, root: str, links: Sequence[Link], marginal_of: str | None = None
    ) -> tuple[dict[str, FloatArray], FloatArray | None]:
        """
        Return poses in the frame of a root of all nodes that links connect with it.

        The covariance (6, 6) of one of them is returned too, in fixed axes of the root; None
        without gtsam.
        """
        poses = self._poses_along_tree(root, links)
        if self._gtsam is None or len(poses) < 2 or (marginal_of and marginal_of not in poses):
            return poses, None
        gtsam, keys = self._gtsam, {name: key for key, name in enumerate(poses)}
        graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        for name, key in keys.items():
            values.insert(key, gtsam.Pose3(poses[name]))
        tight = gtsam.noiseModel.Isotropic.Sigma(6, 1e-6)
        graph.add(gtsam.PriorFactorPose3(keys[root], gtsam.Pose3(), tight))
        for link in (*links, *self._known_links):
            if link.a in keys:
                covariance = tangent_covariance(covariance_at_origin(link), _pose(link))
                noise = gtsam.noiseModel.Gaussian.Covariance(covariance)
                graph.add(
                    gtsam.BetweenFactorPose3(
                        keys[link.b], keys[link.a], gtsam.Pose3(_pose(link)), noise
                    )
                )
        if root in self._upright or root == BUILDING:
            noise = gtsam.noiseModel.Isotropic.Sigma(2, np.radians(GRAVITY_STD_DEG))
            up = gtsam.Unit3(0, 0, 1)
            for name in self._upright & set(keys) - {root}:
                graph.add(gtsam.AttitudeFactorPose3(keys[name], up, noise, up))
        params = gtsam.LevenbergMarquardtParams()
        solution = gtsam.LevenbergMarquardtOptimizer(graph, values, params).optimize()
        poses = {name: solution.atPose3(key).matrix() for name, key in keys.items()}
        if marginal_of is None:
            return poses, None
        tangent = gtsam.Marginals(graph, solution).marginalCovariance(keys[marginal_of])
        return poses, fixed_axes_covariance(tangent, poses[marginal_of])

    def _poses_along_tree(self, root: str, links: Sequence[Link]) -> dict[str, FloatArray]:
        """Return the poses of all nodes connected with a root, along the most certain links."""
        nodes = self._nodes()
        tree = minimum_spanning_tree(self._adjacency(links))
        order, before = breadth_first_order(tree, nodes.index(root), directed=False)
        poses = {root: np.eye(4)}
        for node in order[1:].tolist():
            name, parent = nodes[node], nodes[int(before[node])]
            link = self._best_between(name, parent, links)
            step = _pose(link) if link.a == name else inverse(_pose(link))
            poses[name] = poses[parent] @ step
        return poses

    def _nodes(self) -> list[str]:
        return [*self.names, BUILDING] if self.known else self.names

    def _adjacency(self, links: Sequence[Link]) -> csr_array:
        """Return the graph of the nodes, weighted by variances in units of a correct pose."""
        index = {name: k for k, name in enumerate(self._nodes())}
        weights = np.zeros((len(index), len(index)))
        for link in (*links, *self._known_links):
            a, b = sorted((index[link.a], index[link.b]))
            weights[a, b] = min(weights[a, b] or np.inf, uncertainty(link))
        return csr_array(weights)

    def _best_between(self, a: str, b: str, links: Sequence[Link]) -> Link:
        between = [link for link in (*links, *self._known_links) if {link.a, link.b} == {a, b}]
        return min(between, key=uncertainty)


def uncertainty(link: Link) -> float:
    """Return the variance of a link in units of a correct pose; doubled if one-sided."""
    variance = (link.std_m / CORRECT_WITHIN_M) ** 2 + (link.std_deg / CORRECT_WITHIN_DEG) ** 2
    return variance if link.is_two_sided else 2.0 * variance


def _pose(link: Link) -> FloatArray:
    assert link.b_from_a is not None
    return link.b_from_a
