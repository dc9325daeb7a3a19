"""
Find out why messages do not arrive: no publisher, another type, another QoS, or no discovery.

`subscription_problem` names the first three. `DiscoveryProbe` finds out from when on another node
has discovered our subscriptions, so that no message is lost.
"""

from collections.abc import Iterable
import math
import time
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, qos_check_compatible, QoSCompatibility, QoSProfile
from rclpy.task import Future

from nerf_reversal_ros.core import remedies

CHECK_PERIOD_S = 5.0
"""Time between two checks of the subscriptions [s]."""
COMPRESSED, RAW = 'sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/Image'


def subscription_problem(node: Node, topic: str, kind: Any, qos: QoSProfile) -> str:
    """
    Return a sentence on what keeps publishers from a subscription; empty if nothing does.

    ``topic`` is the full name, ``kind`` the message class, ``qos`` the QoS of the subscription.
    """
    expected = f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return f'nobody publishes {topic} ({expected}): start its publisher, or remap the topic'
    for publisher in publishers:
        if publisher.topic_type != expected:
            remedy = {
                (COMPRESSED, RAW): remedies.RAW_TRANSPORT,
                (RAW, COMPRESSED): remedies.COMPRESSED_TRANSPORT,
            }.get((expected, publisher.topic_type), 'remap the topic')
            return f'{topic} is published as {publisher.topic_type}, not as {expected}: {remedy}'
        compatibility, reason = qos_check_compatible(publisher.qos_profile, qos)
        if compatibility == QoSCompatibility.ERROR:
            return (
                f'a publisher of {topic} has an incompatible QoS ({reason.strip()}), so that none'
                f' of its messages arrive: {remedies.BEST_EFFORT}'
            )
    return ''


def latched_hint(node: Node, topic: str) -> str:
    """Return a sentence if all publishers of a topic are latched: they may have published."""
    publishers = node.get_publishers_info_by_topic(topic)
    latched = DurabilityPolicy.TRANSIENT_LOCAL
    if not all(publisher.qos_profile.durability == latched for publisher in publishers):
        return ''
    return (
        f'nothing arrived on {topic}, which is latched (transient local): messages from before'
        ' the activation of this node are lost; publish one with each image'
    )


class DiscoveryProbe:
    """
    Detects that another node has discovered the subscriptions that our node made before.

    A message is lost to a subscription that its publisher has not discovered, even if both are
    reliable. Discovery is pairwise: that a third node has discovered both proves nothing. Some
    pairs need the periodic announcement of Fast DDS, after 3 s. A service responds only to a
    client that it has discovered, and Fast DDS and Cyclone DDS announce endpoints in the order of
    their creation. A response to a client made after the subscriptions is therefore a proof.

    Parameters
    ----------
    node : Node
        Our node; it must be spun.
    name : str
        Name of the other node, as a topic is named: relative to our namespace, or absolute.
    parameters : strs
        Names of parameters of the other node to request.
    """

    _RETRY_PERIOD_S = 1.0

    def __init__(self, node: Node, name: str, *parameters: str) -> None:
        service = f'{name}/get_parameters'
        self._client = node.create_client(GetParameters, service)
        self.service: str = node.resolve_service_name(service)
        """Full name of the requested service."""
        self._parameters = parameters
        self._last_request_s = -math.inf
        self._response: Future | None = None

    @property
    def available(self) -> bool:
        """Whether a node offers the service."""
        return bool(self._client.service_is_ready())

    def poll(self) -> bool:
        """Send a request, at most one a second, and return whether a response has arrived."""
        now_s = time.monotonic()
        if self.available and now_s > self._last_request_s + self._RETRY_PERIOD_S:
            # A response to a client not discovered yet is lost; a later one will arrive.
            request = GetParameters.Request(names=list(self._parameters))
            self._client.call_async(request).add_done_callback(self._on_response)
            self._last_request_s = now_s
        return self._response is not None

    def parameter_text(self, parameter: str) -> str:
        """Return a text parameter of the last response; empty if it is not there."""
        if self._response is None:
            return ''
        values = dict(zip(self._parameters, self._response.result().values, strict=False))
        return str(values[parameter].string_value) if parameter in values else ''

    def _on_response(self, response: Future) -> None:
        self._response = response


class RepeatedWarningLog:
    """Logs a problem once, at its second report in a row, because discovery takes a while."""

    def __init__(self, log: RcutilsLogger) -> None:
        self._log = log
        self._repeat_counts: dict[str, int] = {}

    def update(self, problems: Iterable[str]) -> None:
        """Report the present problems, one sentence each."""
        self._repeat_counts = {
            problem: self._repeat_counts.get(problem, 0) + 1 for problem in problems
        }
        for problem, count in self._repeat_counts.items():
            if count == 2:
                self._log.warning(problem)
