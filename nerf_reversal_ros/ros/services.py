"""Services of the localizer node: load a map, localize once, reset."""

from concurrent.futures import CancelledError, TimeoutError as FutureTimeout
from pathlib import Path
from typing import Protocol

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from std_srvs.srv import Trigger

from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.ros.camera_info_buffer import CameraInfoMatch
from nerf_reversal_ros.ros.image_localizer import ImageInput, ImageLocalizer, LocalizationResult
from nerf_reversal_ros.ros.input_subscriptions import InputSubscriptions
from nerf_reversal_ros.ros.node_runner import printable_traceback
from nerf_reversal_ros.srv import LoadMap, Localize

DEFAULT_IMAGE_TIMEOUT_S = 5.0
"""Wait of ~/localize for an image [s] if the request leaves it at 0."""
MAX_IMAGE_TIMEOUT_S = 60.0
"""Longest wait that a request may ask for [s]."""

NOT_CONFIGURED = 'the localizer is not configured: configure it, or wait until its map is loaded'


class LocalizerServicesTarget(Protocol):
    """The part of the localizer node that the services use."""

    image_localizer: ImageLocalizer | None
    """None unless configured."""
    inputs: InputSubscriptions | None
    """None unless active."""

    def load(self, map_dir: Path) -> None:
        """Load another map and use it; after an error the current one stays in use."""

    def reset(self) -> None:
        """Drop the waiting image, all counts, and the poses that odometry is compared with."""


class LocalizerServices:
    """Offers ~/load_map, ~/localize and ~/reset on ``node``; ``target`` is the same node."""

    def __init__(self, node: Node, target: LocalizerServicesTarget) -> None:
        self._target, self._log = target, node.get_logger()
        # Each may take long or wait for images, and must not block another one.
        for kind, name, callback in (
            (LoadMap, '~/load_map', self._on_load_map),
            (Localize, '~/localize', self._on_localize),
            (Trigger, '~/reset', self._on_reset),
        ):
            group = MutuallyExclusiveCallbackGroup()
            node.create_service(kind, name, callback, callback_group=group)

    def _on_load_map(
        self, request: LoadMap.Request, response: LoadMap.Response
    ) -> LoadMap.Response:
        if self._target.image_localizer is None:
            response.message = NOT_CONFIGURED
            return response
        try:
            self._target.load(Path(request.map_dir))
        except NerfReversalError as error:
            note = ' (the current map stays in use)' if self._target.image_localizer else ''
            response.message = f'{error}{note}'
        except Exception as error:  # a defect must not end the node, nor be hidden
            self._log.error(printable_traceback())
            response.message = f'internal error: {error!r} (the current map stays in use)'
        else:
            response.success, response.message = True, f'loaded the map {request.map_dir}'
        return response

    def _on_localize(
        self, request: Localize.Request, response: Localize.Response
    ) -> Localize.Response:
        inputs, image_localizer = self._target.inputs, self._target.image_localizer
        if image_localizer is None:
            response.reason = NOT_CONFIGURED
        elif len(request.image.data) > 0:
            info = CameraInfoMatch(request.camera_info)
            if not any(request.camera_info.k):
                header = request.image.header
                info = inputs.camera_infos.latest(header) if inputs else CameraInfoMatch(None)
            image_localizer.process_and_publish(
                ImageInput(request.image, info),
                lambda result: _fill_response(response, result),
            )
        elif inputs is None:
            response.reason = (
                'the localizer is not active: activate it, or send an image with the request'
            )
        elif not 0 <= request.timeout_s <= MAX_IMAGE_TIMEOUT_S:
            response.reason = (
                f'timeout_s is {request.timeout_s:g}: set it to 0 to {MAX_IMAGE_TIMEOUT_S:g}'
                ' seconds'
            )
        else:
            self._wait_for_next(inputs, request.timeout_s or DEFAULT_IMAGE_TIMEOUT_S, response)
        return response

    def _wait_for_next(
        self, inputs: InputSubscriptions, timeout_s: float, response: Localize.Response
    ) -> None:
        try:
            _fill_response(response, inputs.next_result().result(timeout_s))
        except FutureTimeout:
            response.reason = f'no image arrived on {inputs.topic} within {timeout_s:g} s'
        except CancelledError:
            response.reason = 'the localizer was deactivated before a result was published'

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._target.reset()
        response.success, response.message = True, 'dropped the waiting image and all counts'
        return response


def _fill_response(response: Localize.Response, result: LocalizationResult) -> None:
    status = result.status
    response.accepted, response.reason = status.accepted, status.reason
    response.detail, response.room = status.detail, status.room
    if result.poses is not None:
        response.pose = result.poses.pose_with_covariance
