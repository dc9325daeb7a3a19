"""
Localize an image in a building: in the room that explains it best.

The keypoints of the image rank the rooms by their views. The best rooms are tried in that order,
each cheaply, and only then with more effort. Rooms that look like the one that was found are tried
as well: the pose is taken if its room explains the image better by a margin, else none is.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.building.look_alikes import common_landmarks, rooms_alike
from nerf_reversal_ros.building.room_attempts import RoomAttempts
from nerf_reversal_ros.building.room_cache import RoomCache
from nerf_reversal_ros.building.room_comparison import compare_rooms
from nerf_reversal_ros.building.room_rivals import find_rival, is_same_place, query_and_best
from nerf_reversal_ros.building.rooms_camera_search import RoomsCameraSearch
from nerf_reversal_ros.building.view_descriptors import RoomScore, ViewIndex
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.devices import resolve_device_type
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.core.geometry import FloatArray, inverse
from nerf_reversal_ros.core.outcome import Diagnostics, Outcome, Rejection, RejectionReason
from nerf_reversal_ros.core.parallel import one_blas_thread
from nerf_reversal_ros.core.stage_timer import StageTimer
from nerf_reversal_ros.localization.camera_search import FoundCamera
from nerf_reversal_ros.localization.image_queries import ImageQueries
from nerf_reversal_ros.localization.localizer import (
    CameraStatement,
    check_image,
    image_and_camera,
    Images,
    Localizer,
    low_contrast,
    MIN_CONTRAST,
    search_outcome,
)
from nerf_reversal_ros.localization.map_placement import transform_outcome
from nerf_reversal_ros.localization.pose_search import PoseSearch
from nerf_reversal_ros.maps.building_folder import Building, Room

if TYPE_CHECKING:
    from nerf_reversal_ros.localization.pose_files import LocalizedImage

RANKED_ROOMS = 12
"""Best rooms that an image is compared with; the others are not looked at."""
MAX_ROOMS, MAX_RETRIED_ROOMS = 5, 3
"""Rooms that are tried at most, and those of them that are tried with more effort."""


class BuildingLocalizer:
    """
    Localizes images in the rooms of a building.

    Parameters
    ----------
    building : Building
        The rooms; those that cannot be opened are left out.
    config : LocalizerConfig
        Default settings, the device, and the limit of the memory.
    wait : bool, optional
        Whether an image waits for the rooms that it needs. Otherwise it is rejected as long as
        they are being loaded, so that no image takes longer than usual.

    Raises
    ------
    MapError
        If the view descriptors are malformed, or if no room can be opened.
    ConfigError
        If the device is not available.
    """

    def __init__(self, building: Building, config: LocalizerConfig, *, wait: bool = True) -> None:
        resolve_device_type(config.device)
        self.building, self.config, self._wait = building, config, wait
        self.index = ViewIndex.of_building(building)
        self._common = {name: common_landmarks(building, name) for name in building.rooms}
        self.rooms = RoomCache(building, config)
        self._present: Room | None = None
        self._trusted: FoundCamera | None = None
        if not any(self.rooms.localizer(name) for name in building.rooms):
            failures = '; '.join(self.rooms.failures.values())
            self.rooms.close()
            raise MapError(f'no room of the building {building.path} can be opened: {failures}')

    @property
    def present_room(self) -> str | None:
        """Room of the last accepted pose."""
        return None if self._present is None else self._present.name

    def close(self) -> None:
        """Let all rooms go."""
        self.rooms.close()

    def localize(
        self,
        rgb: NDArray[np.uint8] | str | Path,
        camera: CameraStatement = None,
        config: LocalizerConfig | None = None,
        expected_pose: FloatArray | None = None,
        time_limit_s: float = np.inf,
        expected_room: str | None = None,
    ) -> Outcome:
        """
        Estimate room and camera pose of one image; arguments are those of `Localizer.localize`.

        Parameters
        ----------
        rgb, camera, config, time_limit_s
            As `Localizer.localize` takes them.
        expected_pose : (4, 4) array, optional
            From tracking, in the frame of ``expected_room``, which goes first.
        expected_room : str, optional
            Default: the room of the last accepted pose.

        Returns
        -------
        Outcome
            Pose with covariance, or a rejection. ``diagnostics`` has the room, and the frame of
            the poses: ``map`` of the building, or that of the room if nothing links it.

        Raises
        ------
        ImageError, CaptureError, ConfigError
            As `Localizer.localize` raises them.
        """
        image = image_and_camera(self, rgb, camera)
        if isinstance(image, Rejection):
            return image
        rgb, camera = image
        timer = StageTimer()
        contrast = check_image(rgb, camera)
        if contrast < MIN_CONTRAST:
            return low_contrast(contrast, timer)
        config = config or self.config
        if expected_pose is not None and expected_room is not None:
            self._present = self.building.room(expected_room)
        queries = ImageQueries(rgb, camera, config)
        return self._localize(queries, config, expected_pose, time_limit_s, contrast, timer)

    def localize_all(
        self, images: Images, camera: CameraStatement = None
    ) -> 'Iterator[LocalizedImage]':
        """Localize many images one by one, see `Localizer.localize_all`."""
        from nerf_reversal_ros.localization.source_localizer import localize_images

        return localize_images(self, images, camera, self.capture_config)

    @property
    def capture_config(self) -> CaptureConfig:
        """Topics of bags that `localize_all` reads: those that the first room was built with."""
        return self.building.query_config({}).capture

    def camera_search(self) -> RoomsCameraSearch:
        """Return a search for the camera of images, all of one size, that have no intrinsics."""
        return RoomsCameraSearch(self.index, self.rooms, MAX_RETRIED_ROOMS)

    def trust(self, found: FoundCamera) -> None:
        """Let the covariances of poses hold the uncertainty of a camera that was found."""
        self._trusted = found

    @one_blas_thread()
    def _localize(
        self,
        queries: ImageQueries,
        config: LocalizerConfig,
        expected_pose: FloatArray | None,
        time_limit_s: float,
        contrast: float,
        timer: StageTimer,
    ) -> Outcome:
        deadline = perf_counter() + time_limit_s

        def rank() -> list[RoomScore]:
            return self.index.rank(queries.first.keypoints.descriptors, RANKED_ROOMS)

        attempts = RoomAttempts(queries, config, deadline, contrast, timer, expected_pose, rank)
        self.rooms.forget_wanted()
        queries.begin()
        try:
            self._regress_in_present_room(attempts)
        finally:
            queries.finish()
        timer.lap('keypoints')
        found = self._find_room(attempts)
        if found is None:
            return self._rejection(attempts)
        winner, ambiguity = self._compare_with_look_alikes(attempts, found)
        if ambiguity is not None:
            return self._outcome(attempts, winner, ambiguity)
        attempts.searches[winner].remember()
        self._present = self.building.rooms[winner]
        self.rooms.stay_in(winner)
        return self._outcome(attempts, winner)

    def _regress_in_present_room(self, attempts: RoomAttempts) -> None:
        """Regress the pose in the present room while keypoints are detected: mostly it stays."""
        name = self.present_room
        if name is None or attempts.expected_pose is not None:
            return
        localizer = self.rooms.localizer(name, wait=False)
        if localizer is not None:
            attempts.prepared = name, self._search(attempts, name, localizer)
            attempts.prepared[1].regress()

    def _find_room(self, attempts: RoomAttempts) -> str | None:
        """Return the first room in which a pose is accepted; none if there is none."""
        for name in self._order(attempts):
            search = self._begin(attempts, name)
            if search is not None:
                was_accepted = search.accepted is not None
                if was_accepted or attempts.is_clear(name):
                    attempts.complete(name)
                if search.accepted is not None:
                    return name
                if was_accepted:  # another pose in the room is as good
                    return None
            if attempts.is_late:
                return None
        for name, search in list(attempts.searches.items())[:MAX_RETRIED_ROOMS]:
            attempts.complete(name)
            if search.accepted is not None:
                return name
        return None

    def _order(self, attempts: RoomAttempts) -> Iterator[str]:
        """Yield the rooms to try: the present one first if expected, or about as similar."""
        present = self.present_room
        if present is not None and attempts.expected_pose is not None:
            yield present
        names = [score.name for score in attempts.scores[:MAX_ROOMS]]
        if present is not None and attempts.looks_like(present, names[0]):
            names = [present, *names]
        yield from dict.fromkeys(names)

    def _begin(self, attempts: RoomAttempts, name: str) -> PoseSearch | None:
        """Try a room cheaply; None if it is not loaded."""
        if name in attempts.searches:
            return attempts.searches[name]
        localizer = self._loaded(attempts, name)
        if localizer is None:
            return None
        search = self._search(attempts, name, localizer)
        if attempts.prepared is not None and attempts.prepared[0] == name:
            search = attempts.prepared[1]
        attempts.searches[name] = search
        search.attempt(attempts.deadline)
        return search

    def _loaded(self, attempts: RoomAttempts, name: str) -> Localizer | None:
        """Return the localizer of a room; None, and remember it, if it is not loaded."""
        room = self.rooms.room(name, wait=self._wait)
        attempts.timer.lap('load')
        if room is None:
            attempts.not_loaded[name] = None
            return None
        attempts.seen_sides[name] = room.seen_sides
        return room.localizer

    def _search(self, attempts: RoomAttempts, name: str, localizer: Localizer) -> PoseSearch:
        if self._trusted is not None:
            localizer.trust(self._trusted)
        room, expected_pose = self.building.rooms[name], attempts.expected_pose
        if expected_pose is not None:
            if self._present is None or room.frame != self._present.frame:
                expected_pose = None
            elif room.building_from_room is not None:
                expected_pose = inverse(room.building_from_room) @ expected_pose
        return localizer.search(attempts.queries, attempts.config, expected_pose, attempts.timer)

    def _compare_with_look_alikes(
        self, attempts: RoomAttempts, found: str
    ) -> tuple[str, Rejection | None]:
        """Return the room that explains the image best; a rejection if that is not certain."""
        winner, asked = found, {found}
        while (name := self._look_alike(attempts, winner, asked)) is not None:
            asked.add(name)
            if self._has_rival(attempts, name, winner):
                winner, ambiguity = self._compare(attempts, winner, name)
                if ambiguity is not None:
                    return winner, ambiguity
        for name in asked & attempts.not_loaded.keys():
            if attempts.looks_like(name, winner):
                return winner, self._not_loaded(name, winner)
        return winner, None

    def _look_alike(self, attempts: RoomAttempts, winner: str, asked: set[str]) -> str | None:
        """Return a room that may look like the best one and was not asked yet, if there is one."""
        query, best = query_and_best(attempts.searches[winner])
        keypoints = len(query.keypoints.pixels)
        names = rooms_alike(self._common[winner], best.solution.inliers, keypoints)
        if len(names) > MAX_ROOMS:
            names = [score.name for score in attempts.scores if score.name in names][:MAX_ROOMS]
        return next((name for name in names if name not in asked), None)

    def _has_rival(self, attempts: RoomAttempts, name: str, winner: str) -> bool:
        """
        Return whether another room has a pose that may be the right one; keep its search.

        A pose at the same place of the building is none: rooms that see each other share views.
        """
        localizer = self._loaded(attempts, name)
        if localizer is None:
            return False
        other = attempts.searches[winner]
        search = attempts.searches.get(name) or self._search(attempts, name, localizer)
        rival = find_rival(other, localizer.refiner, attempts.config)
        attempts.timer.lap('other_room')
        if rival is not None and (search.best is None or rival.is_better_than(search.best)):
            search.best = rival
        if not attempts.is_rival(search, other):
            return False
        first, second = self.building.rooms[winner], self.building.rooms[name]
        if is_same_place(first, other, second, search):
            return False
        attempts.searches[name] = search
        return True

    def _compare(
        self, attempts: RoomAttempts, first: str, second: str
    ) -> tuple[str, Rejection | None]:
        """
        Return the better of two rooms; a rejection if that is not certain.

        It is that which tracking expects, unless the image tells otherwise: then it is neither.
        """
        query = attempts.queries.retry if attempts.config.retry_size else attempts.queries.first
        poses = [attempts.room_pose(name) for name in (first, second)]
        compared = compare_rooms(query, *poses)
        attempts.timer.lap('other_room')
        expected = attempts.expected_room(first, second)
        evident = first if compared.lead >= 1 else second if compared.lead <= -1 else None
        best = evident or expected
        if best is not None and expected in (None, best):
            if best == second:
                attempts.complete(second, ignore_time=True)  # as for other poses in a room
            if attempts.searches[best].accepted is not None:
                return best, None
        detail = compared.describe(first, second)
        return first, Rejection(RejectionReason.AMBIGUOUS_VIEW, detail)

    def _rejection(self, attempts: RoomAttempts) -> Outcome:
        """Return the rejection of the room that explains the image best."""
        best = attempts.best_room()
        if best is None and not attempts.not_loaded:
            return Rejection(
                RejectionReason.TOO_FEW_MATCHES,
                f'no map of the building {self.building.path} has landmarks',
                self._of_no_room(attempts),
            )
        if best is None:
            name = next(iter(attempts.not_loaded))
            return replace(self._not_loaded(name), diagnostics=self._of_no_room(attempts))
        for name in attempts.not_loaded:
            if name not in self.rooms.failures and attempts.looks_like(name, best):
                return self._outcome(attempts, best, self._not_loaded(name))
        return self._outcome(attempts, best)

    def _of_no_room(self, attempts: RoomAttempts) -> Diagnostics:
        return Diagnostics(
            scores={'contrast': attempts.contrast}, latency_ms=attempts.timer.finish()
        )

    def _not_loaded(self, name: str, other: str | None = None) -> Rejection:
        """Return the rejection of an image that a room may show that is not there."""
        where = f', which looks like {other}' if other else ''
        if name in self.rooms.failures:
            return Rejection(
                RejectionReason.ROOM_NOT_LOADED,
                f'it may show the room {name}{where}, which cannot be opened',
            )
        return Rejection(RejectionReason.ROOM_NOT_LOADED, f'{name}{where}, is being loaded')

    def _outcome(
        self, attempts: RoomAttempts, name: str, rejection: Rejection | None = None
    ) -> Outcome:
        """Return the outcome in a room, in the frame of its poses; or a rejection instead."""
        room = self.building.rooms[name]
        outcome = search_outcome(attempts.searches[name], attempts.contrast, attempts.timer)
        scores = dict(outcome.diagnostics.scores)
        if name in attempts.known_scores:
            scores['room_score'] = attempts.known_scores[name]
        diagnostics = replace(outcome.diagnostics, scores=scores, room=name, frame=room.frame)
        outcome = replace(rejection or outcome, diagnostics=diagnostics)
        if room.building_from_room is None:
            return outcome
        return transform_outcome(outcome, room.building_from_room)
