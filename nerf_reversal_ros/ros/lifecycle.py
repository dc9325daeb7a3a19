"""What rclpy's lifecycle nodes lack."""

from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle import LifecycleNode


def set_transition_group(group: CallbackGroup, node: LifecycleNode) -> None:
    """
    Make transitions in a callback group of their own, so that other services answer meanwhile.

    By itself rclpy makes them in the node's default group: while a map is loaded, nobody could
    ask for the state or for a parameter.
    """
    service = node._service_change_state
    service.callback_group = group
    group.add_entity(service)


def reject_invalid_transitions(node: LifecycleNode) -> None:
    """
    Answer a transition that the present state does not have with failure, as rclcpp's nodes do.

    By itself rclpy raises such a request in the executor, and the process would end.
    """
    service = node._service_change_state
    change = service.callback

    def answer(
        request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        try:
            return change(request, response)  # type: ignore[no-any-return]
        except RuntimeError as error:  # RCLError, which rclpy does not export
            asked = request.transition.label or f'number {request.transition.id}'
            _, state = node._state_machine.current_state
            node.get_logger().warning(
                f'the transition {asked} is not possible in the state {state}: nothing is done'
                f' ({" ".join(str(error).split())})'
            )
            response.success = False
            return response

    service.callback = answer
