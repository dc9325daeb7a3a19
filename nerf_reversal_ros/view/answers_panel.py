"""Poses in one browser: frustums, 3 sigma ellipsoids, and one after the other along a slider."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from threading import Lock, Timer
import time
from typing import Any, TYPE_CHECKING

import numpy as np

from nerf_reversal_ros.core.outcome import PoseEstimate
from nerf_reversal_ros.localization.pose_files import describe_outcome
from nerf_reversal_ros.view.answers import Answers, MAX_POSES
from nerf_reversal_ros.view.map_renderer import Render, small_rendering
from nerf_reversal_ros.view.map_scene import add_frustum, MapScene
from nerf_reversal_ros.view.newest_task import IsNewest, NewestTask
from nerf_reversal_ros.view.page_text import ANSWERS_ORDER, pictures, plain
from nerf_reversal_ros.view.shapes import ellipsoids, frustums
from nerf_reversal_ros.view.shown_poses import ShownPose

if TYPE_CHECKING:
    from viser import ClientHandle

BLOCK, MAX_BLOCKS = 50, 8
"""Poses that are drawn as one, and how many of these are: the newest. Only what grew is sent."""
PERIOD_S = 0.5
"""Least time between two drawings of poses that are added [s]."""
REST_S = 0.2
"""Time, beside `PERIOD_S`, without another answer after which the map is rendered there [s]."""
POSE_COLOR, CURRENT_COLOR = (20, 110, 220), (200, 30, 120)


class AnswersPanel:
    """
    Shows the answers of a page in a browser.

    Parameters
    ----------
    client : ClientHandle
    scene : MapScene
    answers : Answers
    render : callable
        See `Render`.
    """

    def __init__(
        self, client: 'ClientHandle', scene: MapScene, answers: Answers, render: Render
    ) -> None:
        self._client, self._scene = client, scene
        self._answers, self._render = answers, render
        self._poses: Sequence[ShownPose] = ()
        self._drawn = 0
        self._lock, self._drawing = Lock(), Lock()
        self._timer: Timer | None = None
        self._drawn_s = 0.0
        self._nodes: dict[int, list[Any]] = {}
        self._frustum: Any = None
        self._slider: Any = None
        self._is_shown, self._is_closed = True, False
        self._rendering = NewestTask()
        gui = client.gui
        self._folder = gui.add_folder('Answers', order=ANSWERS_ORDER)
        with self._folder:
            self._summary = gui.add_markdown('none yet', image_root=Path())
            shown = gui.add_checkbox('All answers', True, hint='with ellipsoids of 3 sigma')
            shown.on_update(lambda _: self._show_all(shown.value))
            self._current = gui.add_markdown('', image_root=Path())
            look = gui.add_button('Look from this one')
            look.on_click(lambda _: self._look())
        answers.listeners.add(self._update)
        self._update()

    def close(self) -> None:
        """Draw no longer."""
        self._answers.listeners.remove(self._update)
        self._rendering.drop()
        with self._drawing:
            self._is_closed = True
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()

    def _update(self) -> None:
        """Draw what was added, soon."""
        with self._lock:
            if self._timer is None:
                wait_s = max(0.0, self._drawn_s + PERIOD_S - time.monotonic())
                self._timer = Timer(wait_s, self._draw)
                self._timer.daemon = True
                self._timer.start()

    def _draw(self) -> None:
        """Draw what was added; the slider follows its end."""
        with self._lock:
            self._timer, self._drawn_s = None, time.monotonic()
        poses, counts = self._answers.snapshot()
        with self._drawing:
            if not poses or self._is_closed:
                return
            old = self._slider
            follows = old is None or old.value >= self._slider_end
            number = len(poses) if follows else old.value
            self._poses = poses
            self._summary.content = plain(summary(counts))
            self._draw_all(poses, counts.total())
            self._add_slider(len(poses), number)
            self._draw_current(number)

    def _add_slider(self, count: int, number: int) -> None:
        """Put a slider in the place of the old one: its end cannot be moved."""
        if self._slider is not None:
            self._slider.remove()
        self._slider_end = count
        with self._folder:
            slider = self._client.gui.add_slider('Image', 1, max(2, count), 1, number)
        slider.on_update(lambda _: self._draw_current(slider.value))
        self._slider = slider

    def _draw_all(self, poses: list[ShownPose], count: int) -> None:
        """Draw the blocks that grew since the last time, of ``count`` poses in all."""
        first, last = self._drawn // BLOCK, (count - 1) // BLOCK
        dropped = count - len(poses)
        for block in range(max(first, last - MAX_BLOCKS + 1), last + 1):
            start = block * BLOCK - dropped
            self._draw_block(block % MAX_BLOCKS, poses[max(0, start) : start + BLOCK])
        self._drawn = count

    def _draw_block(self, slot: int, shown: list[ShownPose]) -> None:
        """Draw poses in the place of those that were drawn there."""
        estimates = [pose.outcome for pose in shown if isinstance(pose.outcome, PoseEstimate)]
        if not estimates:
            for node in self._nodes.pop(slot, []):
                node.remove()
            return
        content = self._scene.content
        poses = np.stack([estimate.map_from_camera for estimate in estimates])
        covariances = np.stack([estimate.covariance[:3, :3] for estimate in estimates])
        pyramids = frustums(poses, content.camera, content.frustum_m)
        balls = ellipsoids(poses[:, :3, 3], covariances)
        add = self._client.scene.add_mesh_simple
        name, visible = f'/answers/{slot}', self._is_shown
        self._nodes[slot] = [
            add(f'{name}/frustums', *pyramids, color=POSE_COLOR, wireframe=True, visible=visible),
            add(f'{name}/ellipsoids', *balls, color=CURRENT_COLOR, visible=visible),
        ]

    def _current_pose(self, number: int) -> ShownPose:
        """Return the answer of a number, from 1."""
        poses = self._poses
        return poses[min(number, len(poses)) - 1]

    def _draw_current(self, number: int) -> None:
        """Show the answer of a number, from 1; after a rest the map as rendered there, too."""
        pose = self._current_pose(number)
        outcome, camera = pose.outcome, pose.camera or self._scene.content.camera
        text = plain(f'{pose.label}: {describe_outcome(outcome, pose.origin)}')
        image = pose.thumbnail
        self._current.content = text + pictures(image)
        self._draw_frustum(pose)

        def add_rendering(is_newest: IsNewest) -> None:
            if isinstance(outcome, PoseEstimate):
                rendering = small_rendering(self._render, outcome.map_from_camera, camera)
                if is_newest():
                    self._current.content = text + pictures(image, rendering)

        self._rendering.ask(add_rendering, PERIOD_S + REST_S)

    def _draw_frustum(self, pose: ShownPose) -> None:
        if isinstance(pose.outcome, PoseEstimate):
            content = self._scene.content
            self._frustum = add_frustum(
                self._client,
                '/answers/current',
                pose.outcome.map_from_camera,
                pose.camera or content.camera,
                2 * content.frustum_m,
                CURRENT_COLOR,
                pose.thumbnail,
            )
        elif self._frustum is not None:
            self._frustum.visible = False

    def _show_all(self, is_shown: bool) -> None:
        self._is_shown = is_shown
        for node in chain.from_iterable(list(self._nodes.values())):
            node.visible = is_shown

    def _look(self) -> None:
        if self._slider is None:
            return
        outcome = self._current_pose(self._slider.value).outcome
        if isinstance(outcome, PoseEstimate):
            self._scene.look_from(outcome.map_from_camera)


def summary(counts: Counter[str]) -> str:
    """
    Say how many images were localized, why the others were not, and what is not shown.

    ``counts`` are the outcomes by the reason of their rejection, empty for a pose.
    """
    count, accepted = counts.total(), counts['']
    text = f'{accepted} of {count} images were localized'
    if accepted < count:
        reasons = (f'{reason}: {number}' for reason, number in counts.most_common() if reason)
        text += '; ' + ', '.join(reasons)
    if count > BLOCK * MAX_BLOCKS:
        text += f'. The newest {BLOCK * MAX_BLOCKS} or so are drawn'
    if count > MAX_POSES:
        text += f', and the oldest {count - MAX_POSES} are forgotten'
    return text
