"""
Feature tracks of a capture: keypoints that show one point of the scene in several frames.

RootSIFT keypoints are matched between neighboring frames, and between frames that see the same
place again. Candidates for the latter are frames with overlapping views under the given poses,
and frames that VLAD retrieves, which needs no poses. Each pair is verified by its essential
matrix. Matches are merged to tracks.

References
----------
Moulon & Monasse, "Unordered feature tracking made fast and easy", CVMP 2012 (union-find).
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.depth_calibration import depth_at_keypoints
from nerf_reversal_ros.capture.keypoints import KeypointDetector, match_descriptors
from nerf_reversal_ros.capture.scene_scale import ROOM_DEPTH_M
from nerf_reversal_ros.capture.vlad import VladIndex
from nerf_reversal_ros.core.geometry import FloatArray, inverse, transform_points
from nerf_reversal_ros.core.parallel import parallel_map, parallel_stream
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.localization.matching import make_query
from nerf_reversal_ros.mapping.stages import ADJUSTMENT

IMAGE_SIZE_PX = 480
"""Longer side of the images; SIFT at full size costs more than it improves."""
MAX_KEYPOINTS = 1000
"""Keypoints per frame, a bound on the time of matching."""
RATIO = 0.8
"""Ratio test of the matches; the essential matrix removes what it lets through."""
NEIGHBOR_STEPS = (1, 2, 4, 8, 16)
"""Steps to the later frames that each frame is matched with."""
OVERLAP_CANDIDATES, RETRIEVED_CANDIDATES = 3, 2
"""Frames of other times that each frame is matched with: by overlap of the views, by retrieval."""
ACROSS_CANDIDATES = 3
"""Frames of other recordings that each frame is matched with."""
MIN_OVERLAP = 0.4
"""Smallest fraction of the view that a candidate sees, under the given poses."""
MAX_EPIPOLAR_ERROR_PX = 1.5
"""Largest distance of a match from its epipolar line, in pixels of the reduced image."""
MIN_PAIR_MATCHES = 20
"""Fewest verified matches of a pair; fewer are accepted by chance between unrelated images."""
CONFIDENCE, MAX_SAMPLES = 0.999, 1000
"""Probability that the verification finds the essential matrix of a pair that has so many right
matches, and its largest number of samples of `SAMPLE_SIZE` matches."""
SAMPLE_SIZE = 5
MIN_TRACK_LENGTH = 3
"""Fewest frames of a track: with two, a wrong match cannot be told from a right one."""
TRACKS_PER_FRAME = 120
"""Number of tracks, the longest first, that are enough for a frame, a bound on time."""


class TrackFrame(NamedTuple):
    """Keypoints of one frame."""

    rays: FloatArray
    """(N, 2) normalized pixels x / z, y / z of the optical frame."""
    depth_m: FloatArray
    """(N,) measured depth [m], 0 unknown or at an edge."""
    descriptors: NDArray[np.float32]
    """(N, 128)."""
    focal_px: float
    """Focal length at the size of the reduced image: pixels for one unit of a ray."""


class MatchedFrames(NamedTuple):
    """Verified matches between K frames of a capture."""

    frames: NDArray[np.int64]
    """(K,) indices of the frames in the capture, ascending."""
    features: list[TrackFrame]
    """Keypoints of each frame."""
    pairs: list[tuple[int, int]]
    """Positions in ``frames``, first the smaller one."""
    matches: list[NDArray[np.int64]]
    """(M, 2) rows of the keypoints of each pair; empty where too few are verified."""

    @property
    def scene_depth_m(self) -> float:
        """Median of the measured depth [m]; `ROOM_DEPTH_M` without any."""
        return _scene_depth_m(self.features)


@dataclass(frozen=True)
class FeatureTracks:
    """N observations of T points in K frames."""

    frames: NDArray[np.int64]
    """(K,) indices of the frames in the capture, ascending."""
    frame: NDArray[np.int64]
    """(N,) position in ``frames``."""
    track: NDArray[np.int64]
    """(N,) index of the point, from 0 to T - 1, ascending."""
    rays: FloatArray
    """(N, 2) observed x / z and y / z."""
    depth_m: FloatArray
    """(N,) measured depth [m], 0 unknown."""
    focal_px: FloatArray
    """(K,) pixels for one unit of a ray, in the reduced images."""

    @property
    def count(self) -> int:
        """Number of tracks."""
        return int(self.track[-1]) + 1 if len(self.track) else 0

    def of_frames(self, kept: NDArray[np.bool_]) -> 'FeatureTracks':
        """Return the observations of the frames of a mask (K,), which are counted anew."""
        chosen = kept[self.frame]
        _, track = np.unique(self.track[chosen], return_inverse=True)
        return FeatureTracks(
            self.frames[kept],
            (np.cumsum(kept) - 1)[self.frame[chosen]],
            track,
            self.rays[chosen],
            self.depth_m[chosen],
            self.focal_px[kept],
        )

    def subset(self, kept: NDArray[np.bool_]) -> 'FeatureTracks':
        """Return the tracks of a mask (T,), renumbered."""
        chosen = kept[self.track]
        number = np.cumsum(kept) - 1
        return self.observations(chosen, number[self.track[chosen]])

    def observations(self, chosen: NDArray[np.bool_], track: NDArray[np.int64]) -> 'FeatureTracks':
        """Return the observations of a mask (N,), with new indices of their tracks."""
        return FeatureTracks(
            self.frames,
            self.frame[chosen],
            track,
            self.rays[chosen],
            self.depth_m[chosen],
            self.focal_px,
        )


def match_frames(
    capture: Capture, frames: NDArray[np.int64], progress: ProgressCallback = no_progress
) -> MatchedFrames:
    """
    Match frames of a capture with their neighbors, and with frames that see the same place.

    Parameters
    ----------
    capture : Capture
        Its poses only suggest which frames may see the same place; matches do not depend on them.
    frames : (K,) array
        Indices of the frames, ascending.
    progress : callback
        Receives one report per frame, and one when the pairs are matched.
    """
    features = _detect(capture, frames, progress)
    pairs = candidate_pairs(features, capture.map_from_camera[frames])
    matched = MatchedFrames(frames, features, pairs, _match_pairs(features, pairs))
    progress(Progress(ADJUSTMENT, len(frames), len(frames), f'{len(pairs)} pairs matched'))
    return matched


def match_across(
    capture: Capture,
    frames: NDArray[np.int64],
    recording: NDArray[np.int64],
    progress: ProgressCallback = no_progress,
) -> MatchedFrames:
    """
    Match frames of a capture with the most similar ones of other recordings in it.

    Parameters
    ----------
    capture : Capture
        Its poses are not used.
    frames : (K,) array
        Indices of the frames, ascending.
    recording : (K,) array
        Number of the recording that each frame is of.
    progress : callback
        Receives one report per frame.
    """
    features = _detect(capture, frames, progress)
    described = [i for i, frame in enumerate(features) if len(frame.descriptors)]
    pairs = set()
    if described:
        retrieval = VladIndex([features[i].descriptors for i in described])
        ranked = np.array(described)[retrieval.similar_images(len(described) - 1)]
        for i, partners in zip(described, ranked, strict=True):
            others = partners[recording[partners] != recording[i]][:ACROSS_CANDIDATES]
            pairs |= {(min(i, j), max(i, j)) for j in others.tolist()}
    return MatchedFrames(frames, features, sorted(pairs), _match_pairs(features, sorted(pairs)))


def _detect(
    capture: Capture, frames: NDArray[np.int64], progress: ProgressCallback
) -> list[TrackFrame]:
    """Detect the keypoints of frames; one progress report for each."""
    detector = KeypointDetector(MAX_KEYPOINTS, 0.02)
    features = []
    for found in parallel_stream(lambda i: _track_frame(capture.frame(int(i)), detector), frames):
        features.append(found)
        progress(Progress(ADJUSTMENT, len(features), len(frames), 'keypoints'))
    return features


def _match_pairs(
    features: list[TrackFrame], pairs: list[tuple[int, int]]
) -> list[NDArray[np.int64]]:
    return parallel_map(lambda pair: _match_pair(*(features[i] for i in pair)), pairs)


def _track_frame(frame: Frame, detector: KeypointDetector) -> TrackFrame:
    """Detect the keypoints of a frame, and look up their depth."""
    query = make_query(frame.rgb, frame.camera, IMAGE_SIZE_PX, detector)
    rays = query.camera.unproject(query.keypoints.pixels)
    depth_m = depth_at_keypoints(frame, frame.camera.project(rays))
    return TrackFrame(rays[:, :2], depth_m, query.keypoints.descriptors, query.camera.fx)


def candidate_pairs(
    track_frames: list[TrackFrame], map_from_camera: FloatArray
) -> list[tuple[int, int]]:
    """Select the pairs of frames to match, first the smaller index, without repetitions."""
    count = len(track_frames)
    pairs = {(i, i + step) for step in NEIGHBOR_STEPS for i in range(count - step)}
    described = [i for i, frame in enumerate(track_frames) if len(frame.descriptors)]
    if not described:
        return []
    overlap = _view_overlap(track_frames, map_from_camera, _scene_depth_m(track_frames))
    retrieval = VladIndex([track_frames[i].descriptors for i in described])
    apart = max(NEIGHBOR_STEPS)
    for i in range(count):
        pairs |= _spread_partners(i, np.argsort(-overlap[i]), overlap[i] >= MIN_OVERLAP, apart)
    retrieved = np.array(described)[retrieval.similar_images(4 * apart)]
    for i, ranked in zip(described, retrieved, strict=True):
        far = np.ones(count, bool)
        pairs |= _spread_partners(i, ranked, far, apart, RETRIEVED_CANDIDATES)
    return sorted(pairs)


def _scene_depth_m(features: list[TrackFrame]) -> float:
    depth_m = np.concatenate([frame.depth_m for frame in features])
    return float(np.median(depth_m[depth_m > 0])) if (depth_m > 0).any() else ROOM_DEPTH_M


def _spread_partners(
    i: int,
    ranked: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    apart: int,
    limit: int = OVERLAP_CANDIDATES,
) -> set[tuple[int, int]]:
    """Return pairs of frame ``i`` with the best frames that are apart from it and each other."""
    partners: list[int] = []
    for j in ranked.tolist():
        if len(partners) == limit or not allowed[j]:
            break
        if all(abs(j - other) > apart for other in (i, *partners)):
            partners.append(j)
    return {(min(i, j), max(i, j)) for j in partners}


def _view_overlap(
    track_frames: list[TrackFrame], map_from_camera: FloatArray, scene_m: float
) -> FloatArray:
    """Return the fraction of the view of frame i that frame j sees, at one depth, as (K, K)."""
    extent = np.max([np.abs(frame.rays).max(0, initial=0.1) for frame in track_frames], axis=0)
    grid = np.stack(np.meshgrid(*(np.linspace(-0.8, 0.8, 4) * side for side in extent)), axis=-1)
    points = scene_m * np.column_stack([grid.reshape(-1, 2), np.ones(grid.size // 2)])
    camera_from_map = inverse(map_from_camera)
    overlap = np.zeros((len(track_frames), len(track_frames)))
    for i, pose in enumerate(map_from_camera):
        local = (
            np.einsum('kab,pb->kpa', camera_from_map[:, :3, :3], transform_points(pose, points))
            + camera_from_map[:, None, :3, 3]
        )
        inside = np.all(np.abs(local[..., :2]) < extent * local[..., 2:], axis=-1)
        overlap[i] = inside.mean(1)
    return overlap


def _match_pair(first: TrackFrame, second: TrackFrame) -> NDArray[np.int64]:
    """Match two frames and verify by the essential matrix: (M, 2) rows of their keypoints."""
    none = np.empty((0, 2), np.int64)
    matches = match_descriptors(first.descriptors, second.descriptors, RATIO)
    if len(matches) < MIN_PAIR_MATCHES:
        return none
    _, inliers = cv2.findEssentialMat(
        first.rays[matches[:, 0]],
        second.rays[matches[:, 1]],
        np.eye(3),
        cv2.USAC_MAGSAC,
        CONFIDENCE,
        MAX_EPIPOLAR_ERROR_PX / min(first.focal_px, second.focal_px),
        _sample_count(len(matches)),
    )
    matches = matches[inliers.ravel() > 0] if inliers is not None else none
    return matches if len(matches) >= MIN_PAIR_MATCHES else none


def _sample_count(matches: int) -> int:
    """Return how many samples suffice to verify a pair, if `MIN_PAIR_MATCHES` are right."""
    all_right = (MIN_PAIR_MATCHES / matches) ** SAMPLE_SIZE
    if all_right >= CONFIDENCE:
        return 1
    return min(MAX_SAMPLES, int(np.ceil(np.log(1 - CONFIDENCE) / np.log1p(-all_right))))


def merge_matches(matched: MatchedFrames) -> FeatureTracks:
    """
    Merge pairwise matches to tracks, and keep the longest ones.

    A track with two keypoints in one frame holds a wrong match, and is dropped.
    """
    frames, track_frames, pairs, matches = matched
    starts = np.cumsum([0, *(len(frame.rays) for frame in track_frames)])
    edges = np.concatenate(
        [
            np.empty((0, 2), np.int64),
            *(match + starts[list(pair)] for pair, match in zip(pairs, matches, strict=True)),
        ]
    )
    size = int(starts[-1])
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    frame = np.repeat(np.arange(len(track_frames)), np.diff(starts))
    length = np.bincount(label)
    distinct = np.zeros(len(length), np.int64)
    seen = np.unique(np.column_stack([label, frame]), axis=0)
    np.add.at(distinct, seen[:, 0], 1)
    kept = (length >= MIN_TRACK_LENGTH) & (distinct == length)
    kept &= _is_needed(label, frame, length, kept, len(track_frames))
    chosen = kept[label]
    order = np.lexsort([frame[chosen], label[chosen]])
    rays = np.concatenate([one.rays for one in track_frames])
    depth_m = np.concatenate([one.depth_m for one in track_frames])
    _, track = np.unique(label[chosen][order], return_inverse=True)
    focal_px = np.array([one.focal_px for one in track_frames])
    return FeatureTracks(
        frames,
        frame[chosen][order],
        track,
        rays[chosen][order],
        depth_m[chosen][order],
        focal_px,
    )


def _is_needed(
    label: NDArray[np.integer],
    frame: NDArray[np.int64],
    length: NDArray[np.int64],
    kept: NDArray[np.bool_],
    frames: int,
) -> NDArray[np.bool_]:
    """Select the longest tracks until each frame has `TRACKS_PER_FRAME`, as a mask (T,)."""
    order = np.argsort(label, kind='stable')
    bounds = np.searchsorted(label[order], np.arange(len(length) + 1))
    needed, load = np.zeros(len(length), bool), np.zeros(frames, np.int64)
    for t in np.argsort(-length, kind='stable'):
        if not kept[t]:
            continue
        members = frame[order[bounds[t] : bounds[t + 1]]]
        if (load[members] < TRACKS_PER_FRAME).any():
            needed[t] = True
            load[members] += 1
    return needed
