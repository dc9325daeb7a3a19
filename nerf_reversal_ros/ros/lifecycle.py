"""
Extensions of rclpy's lifecycle nodes: callback group, invalid transitions, reports of failures.

rclpy 7.1.5 (Jazzy) gives no public access to the service ``change_state`` and the state machine
of a node. This module uses the private ``_service_change_state`` and ``_state_machine`` instead:
without them, a transition would block all other services, an invalid one end the process, and an
ended node stay in the graph.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.ros.node_runner import printable_traceback

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def set_transition_group(group: CallbackGroup, node: LifecycleNode) -> None:
    """
    Run transitions in their own callback group, so that other services respond meanwhile.

    rclpy uses the default group of the node: while a map is loaded, requests for the state or a
    parameter would wait.
    """
    service = node._service_change_state
    service.callback_group = group
    group.add_entity(service)


def release_state_machine(node: LifecycleNode) -> None:
    """
    Release what rclpy keeps of a destroyed node, so that it leaves the graph at once.

    Otherwise others see the node for 20 s more, and its services with it.
    """
    del node._state_machine


def reject_invalid_transitions(node: LifecycleNode) -> None:
    """
    Respond with failure to a transition that the present state does not have, as rclcpp does.

    rclpy raises an error in the executor, which would end the process.
    """
    service = node._service_change_state
    change_state = service.callback

    def change_state_or_fail(
        request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        try:
            return change_state(request, response)  # type: ignore[no-any-return]
        except RuntimeError as error:  # RCLError, which rclpy does not export
            requested = request.transition.label or f'number {request.transition.id}'
            _, state = node._state_machine.current_state
            node.get_logger().warning(
                f'the transition {requested} is not possible in the state {state}: nothing is'
                f' done ({" ".join(str(error).split())})'
            )
            response.success = False
            return response

    service.callback = change_state_or_fail


def report_failures(transition: Transition) -> Transition:
    """
    Log the error of a failed transition and keep it in the node's ``transition_failure``.

    rclpy discards it. An error of the user gives FAILURE, any other one ERROR.
    """

    @wraps(transition)
    def reporting_transition(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            result = transition(node, state)
        except NerfReversalError as error:
            node.get_logger().error(str(error))
            node.transition_failure = str(error)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            node.get_logger().error(printable_traceback())
            node.transition_failure = repr(error)
            return TransitionCallbackReturn.ERROR
        node.transition_failure = ''
        return result

    return reporting_transition
