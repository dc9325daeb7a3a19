"""
Whether nodes reach each other.

Why nothing comes in on a subscription: nobody publishes, another type, or another QoS. And from
when on nothing is lost any more, because the other node has discovered the subscription.
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

CHECK_PERIOD_S = 5.0
"""How often a node looks what keeps messages from it."""
COMPRESSED, RAW = 'sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/Image'


def subscription_problem(node: Node, topic: str, kind: Any, qos: QoSProfile) -> str:
    """
    Return a sentence on what keeps publishers from a subscription; empty if nothing does.

    ``topic`` is the full name, ``kind`` the class of the messages, ``qos`` that of the subscriber.
    """
    wanted = f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'
    offers = node.get_publishers_info_by_topic(topic)
    if not offers:
        return f'nobody publishes {topic} ({wanted}): start its publisher, or remap the topic'
    for offer in offers:
        if offer.topic_type != wanted:
            remedy = {
                (COMPRESSED, RAW): 'set image_transport to raw, or take the compressed topic',
                (RAW, COMPRESSED): 'set image_transport to compressed',
            }.get((wanted, offer.topic_type), 'remap the topic')
            return f'{topic} is published as {offer.topic_type}, not as {wanted}: {remedy}'
        fits, reason = qos_check_compatible(offer.qos_profile, qos)
        if fits == QoSCompatibility.ERROR:
            return (
                f'a publisher of {topic} offers another QoS than is asked for ({reason.strip()}),'
                ' so that nothing of it comes in: set the parameter reliability to best_effort,'
                ' which goes with every publisher'
            )
    return ''


def latched_hint(node: Node, topic: str) -> str:
    """Return a sentence where all publishers of a topic may have sent all before; else none."""
    offers = node.get_publishers_info_by_topic(topic)
    if not all(one.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for one in offers):
        return ''
    return (
        f'nothing came on {topic}, which is latched (transient local): what was sent before this'
        ' node was active is not heard; publish one with each picture'
    )


class DiscoveryProbe:
    """
    Finds out when another node has discovered the subscriptions that ours made before.

    What somebody publishes before it has discovered a subscription is lost to it, also a reliable
    one; that a third node knows both does not help, for each two discover each other by
    themselves, some of them only when Fast DDS announces them again, after 3 s. But a service
    answers only a client that it has discovered, and Fast DDS and Cyclone DDS announce what a
    node makes in that order: so an answer tells.

    Parameters
    ----------
    node : Node
        Ours; it is to be spun.
    name : str
        Of the other node, as a topic is named: relative to our namespace, or absolute.
    parameters : strs
        Names of parameters of the other node, for which it is asked.
    """

    _RETRY_PERIOD_S = 1.0

    def __init__(self, node: Node, name: str, *parameters: str) -> None:
        service = f'{name}/get_parameters'
        self._client = node.create_client(GetParameters, service)
        self.service: str = node.resolve_service_name(service)
        """Full name of what is asked."""
        self._parameters = parameters
        self._last_request_s = -math.inf
        self._response: Future | None = None

    @property
    def available(self) -> bool:
        """Whether there is somebody to ask."""
        return bool(self._client.service_is_ready())

    def poll(self) -> bool:
        """Ask, each second that this is called, and tell whether it has answered."""
        now_s = time.monotonic()
        if self.available and now_s > self._last_request_s + self._RETRY_PERIOD_S:
            # An answer to a client that was not known yet was lost; any other one will do.
            asked = GetParameters.Request(names=list(self._parameters))
            self._client.call_async(asked).add_done_callback(self._on_response)
            self._last_request_s = now_s
        return self._response is not None

    def parameter_text(self, parameter: str) -> str:
        """Return a parameter that is a text, of the last answer; empty where it is none."""
        if self._response is None:
            return ''
        values = dict(zip(self._parameters, self._response.result().values, strict=False))
        return str(values[parameter].string_value) if parameter in values else ''

    def _on_response(self, response: Future) -> None:
        self._response = response


class RepeatedWarningLog:
    """Tells once what is in the way: the second time in turn, for discovery takes a while."""

    def __init__(self, log: RcutilsLogger) -> None:
        self._log = log
        self._repeat_counts: dict[str, int] = {}

    def update(self, sentences: Iterable[str]) -> None:
        """Take what is in the way now."""
        self._repeat_counts = {
            sentence: self._repeat_counts.get(sentence, 0) + 1 for sentence in sentences
        }
        for sentence, times in self._repeat_counts.items():
            if times == 2:
                self._log.warning(sentence)
