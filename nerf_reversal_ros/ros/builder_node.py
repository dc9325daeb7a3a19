"""Builder as a node: a bag in, a map folder out, by an action or at the start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
import threading
import time
from typing import Any, Protocol

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from nerf_reversal_ros.action import BuildMap
from nerf_reversal_ros.core.config import BuildConfig, load_build_config
from nerf_reversal_ros.core.errors import ConfigError, NerfReversalError
from nerf_reversal_ros.core.progress import eta_s, Progress, ProgressCallback
from nerf_reversal_ros.maps.map_folder import Map
from nerf_reversal_ros.ros.node_config import BuilderNodeConfig
from nerf_reversal_ros.ros.node_runner import (
    call_once,
    CLOSE_TIMEOUT_S,
    DONE,
    NodeFinished,
    printable_traceback,
    run_node,
    USER_ERROR,
)
from nerf_reversal_ros.ros.parameters import NodeParameters

FEEDBACK_PERIOD_S, LOG_PERIOD_S = 0.5, 2.0
"""Least time between two feedback messages, or two log lines, of one stage [s]."""


class BuildFunction(Protocol):
    """Signature of `nerf_reversal_ros.mapping.pipeline.build_map`, as the node calls it."""

    def __call__(
        self,
        bag: Path,
        map_dir: Path,
        config: BuildConfig,
        *,
        device: str,
        field: str,
        progress: ProgressCallback,
        overwrite: bool,
    ) -> Map:
        """Build a map, or resume a killed build; an exception of ``progress`` ends it."""


def build_map(*args: Any, **settings: Any) -> Map:
    """Build a map by the pipeline; imports the heavy libraries."""
    from nerf_reversal_ros.mapping.pipeline import build_map as build

    return build(*args, **settings)


class BuildCancelled(Exception):  # noqa: N818  (ends a build; not an error)
    """Raised by the progress callback to end a build."""


@dataclass
class FeedbackThrottle:
    """Converts progress to feedback with the remaining time, at most one in each period."""

    period_s: float
    """Least time between two feedback messages of one stage; start and end always give one."""
    stage: str = ''
    initial_done: int = 0
    """Units of the stage already done when it began, more than 0 in a resumed build."""
    start_s: float = 0.0
    last_feedback_s: float = 0.0

    def feedback(self, progress: Progress, now_s: float) -> BuildMap.Feedback | None:
        """Return the feedback to send at ``now_s`` [s], or None if it is too early."""
        if progress.stage != self.stage:
            self.stage, self.initial_done, self.start_s = progress.stage, progress.done, now_s
        elif now_s - self.last_feedback_s < self.period_s and progress.done < progress.total:
            return None
        self.last_feedback_s = now_s
        remaining_s = eta_s(progress, self.initial_done, now_s - self.start_s)
        return BuildMap.Feedback(
            stage=progress.stage,
            done=progress.done,
            total=progress.total,
            fraction=min(1.0, progress.done / max(1, progress.total)),
            eta_s=-1.0 if remaining_s is None else remaining_s,
            note=progress.note,
        )


class BuilderNode(Node):
    """
    Builds maps, one at a time, in a thread of the executor.

    With the parameters bag and map it builds at its start and ends. Otherwise it offers the
    action ``~/build``.

    Parameters
    ----------
    build : callable
        Builds a map.
    """

    def __init__(self, build: BuildFunction = build_map) -> None:
        super().__init__('builder', automatically_declare_parameters_from_overrides=True)
        self._build = build
        self._busy = threading.Lock()
        self._stopping = threading.Event()
        self._settings = NodeParameters(self, BuilderNodeConfig).get(BuilderNodeConfig)
        self._server: ActionServer | None = None
        group = ReentrantCallbackGroup()
        if self._settings.bag:
            call_once(self, self._build_from_parameters, group)
            return
        self._server = ActionServer(
            self,
            BuildMap,
            '~/build',
            execute_callback=self._on_accepted,
            goal_callback=self._on_goal,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=group,
        )
        self.get_logger().info('waiting for goals (or set the parameters bag and map)')

    @property
    def interrupted_status(self) -> int:
        """Exit status after a signal: an error if a build is not done."""
        return USER_ERROR if self._busy.locked() else DONE

    def close(self) -> bool:
        """End a running build at its next progress report; return whether it ended in time."""
        if self._busy.locked():
            self.get_logger().warning('interrupted: run the same command to resume the build')
        self._stopping.set()
        return self._busy.acquire(timeout=CLOSE_TIMEOUT_S)

    def destroy_node(self) -> None:
        """Leave the graph."""
        if self._server is not None:
            self._server.destroy()  # rclpy leaves it, and the node would stay in the graph
        super().destroy_node()

    def _build_from_parameters(self) -> None:
        settings = self._settings
        goal = BuildMap.Goal(
            bag=settings.bag,
            map=settings.map,
            field=settings.field,
            device=settings.device,
            config=settings.config,
            overwrite=settings.overwrite,
        )
        with self._busy:
            result = self._run_build(
                goal, FeedbackThrottle(LOG_PERIOD_S), self._log_feedback, lambda: False
            )
        if self._stopping.is_set():
            return
        log = self.get_logger()
        (log.info if result.success else log.fatal)(result.message)
        raise NodeFinished(DONE if result.success else USER_ERROR)

    def _on_goal(self, _: BuildMap.Goal) -> GoalResponse:
        if self._busy.acquire(blocking=False):  # _on_accepted releases it
            return GoalResponse.ACCEPT
        self.get_logger().warning(
            'rejected a goal while a build is running: send it again after the build'
        )
        return GoalResponse.REJECT

    def _on_accepted(self, handle: ServerGoalHandle) -> BuildMap.Result:
        try:
            result = self._run_build(
                handle.request,
                FeedbackThrottle(FEEDBACK_PERIOD_S),
                handle.publish_feedback,
                lambda: handle.is_cancel_requested,
            )
        finally:
            self._busy.release()
        if result.success:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result

    def _run_build(
        self,
        goal: BuildMap.Goal,
        throttle: FeedbackThrottle,
        report: Callable[[BuildMap.Feedback], None],
        is_cancelled: Callable[[], bool],
    ) -> BuildMap.Result:
        """Build the map of a goal; a failure is part of the result."""

        def progress(step: Progress) -> None:
            if is_cancelled() or self._stopping.is_set():
                raise BuildCancelled
            if feedback := throttle.feedback(step, time.monotonic()):
                report(feedback)

        try:
            if not goal.bag or not goal.map:
                raise ConfigError('the goal has no bag or no map: set both')
            built = self._build(
                Path(goal.bag),
                Path(goal.map),
                load_build_config(Path(goal.config) if goal.config else None),
                device=goal.device or 'auto',
                field=goal.field or 'voxel',
                progress=progress,
                overwrite=goal.overwrite,
            )
        except BuildCancelled:
            return BuildMap.Result(message='canceled: send the same goal to resume the build')
        except NerfReversalError as error:
            return BuildMap.Result(message=str(error))
        except Exception as error:  # a defect must not end the node, nor be hidden
            self.get_logger().error(printable_traceback())
            return BuildMap.Result(message=f'internal error: {error!r}')
        path = str(built.path.resolve())
        psnr_db = float(built.manifest.get('metrics', {}).get('psnr_db') or 0.0)
        return BuildMap.Result(
            success=True, message=f'built the map {path}', map=path, psnr_db=psnr_db
        )

    def _log_feedback(self, feedback: BuildMap.Feedback) -> None:
        remaining = f', {feedback.eta_s:.0f} s left' if feedback.eta_s > 0.0 else ''
        self.get_logger().info(
            f'{feedback.stage} {100 * feedback.fraction:.0f} %{remaining} {feedback.note}'.rstrip()
        )


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(BuilderNode, args)
