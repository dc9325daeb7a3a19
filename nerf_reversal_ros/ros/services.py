"""The services of the localizer node."""

from concurrent.futures import CancelledError, TimeoutError as LateError
from pathlib import Path
from typing import Protocol

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from std_srvs.srv import Trigger

from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.ros.image_localizer import ImageLocalizer, LocalizationResult
from nerf_reversal_ros.ros.input_subscriptions import InputSubscriptions
from nerf_reversal_ros.ros.node_runner import printable_traceback
from nerf_reversal_ros.srv import LoadMap, Localize

DEFAULT_IMAGE_TIMEOUT_S = 5.0
"""How long ~/localize waits for a picture when the request does not say."""
MAX_IMAGE_TIMEOUT_S = 60.0
"""How long it may be told to wait."""

NOT_CONFIGURED = 'the localizer is not configured: configure it, or wait until its map is loaded'


class LocalizerServicesTarget(Protocol):
    """What the services ask of the localizer node."""

    image_localizer: ImageLocalizer | None
    """None unless configured."""
    inputs: InputSubscriptions | None
    """None unless active."""

    def load(self, map_dir: Path) -> None:
        """Use another map from now on; an error leaves the present one."""

    def reset(self) -> None:
        """Forget the waiting picture, all counts, and what the odometry is compared with."""


class LocalizerServices:
    """Makes ~/load_map, ~/localize and ~/reset on ``node``, which is also ``served``."""

    def __init__(self, node: Node, target: LocalizerServicesTarget) -> None:
        self._target, self._log = target, node.get_logger()
        # They may take long and wait for pictures: each in a group that nothing else is in.
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
            kept = ' (the present map stays in use)' if self._target.image_localizer else ''
            response.message = f'{error}{kept}'
        except Exception as error:  # a defect must not end the node, nor be hidden
            self._log.error(printable_traceback())
            response.message = f'internal error: {error!r} (the present map stays in use)'
        else:
            response.success, response.message = True, f'loaded the map {request.map_dir}'
        return response

    def _on_localize(
        self, request: Localize.Request, response: Localize.Response
    ) -> Localize.Response:
        watching, answering = self._target.inputs, self._target.image_localizer
        if answering is None:
            response.reason = NOT_CONFIGURED
        elif len(request.image.data) > 0:
            latest = watching.camera_infos.latest if watching else None
            given = request.camera_info if any(request.camera_info.k) else latest
            _fill_response(response, answering.process(request.image, given))
        elif watching is None:
            response.reason = 'the localizer is not active: activate it, or send a picture along'
        elif not 0 <= request.timeout_s <= MAX_IMAGE_TIMEOUT_S:
            response.reason = (
                f'timeout_s is {request.timeout_s:g}: give 0 to {MAX_IMAGE_TIMEOUT_S:g} seconds'
            )
        else:
            timeout_s = request.timeout_s or DEFAULT_IMAGE_TIMEOUT_S
            try:
                _fill_response(response, watching.next_result().result(timeout_s))
            except LateError:
                response.reason = f'no picture came on {watching.topic} within {timeout_s:g} s'
            except CancelledError:
                response.reason = 'the localizer was deactivated meanwhile'
        return response

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._target.reset()
        response.success, response.message = True, 'forgot the waiting picture and all counts'
        return response


def _fill_response(response: Localize.Response, answer: LocalizationResult) -> None:
    status = answer.status
    response.accepted, response.reason = status.accepted, status.reason
    response.detail = status.detail
    if answer.poses is not None:
        response.pose = answer.poses.pose_with_covariance
