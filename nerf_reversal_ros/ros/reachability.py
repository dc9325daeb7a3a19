"""Why nothing comes in on a subscription: nobody publishes, another type, or another QoS."""

from collections.abc import Iterable
from typing import Any

from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, qos_check_compatible, QoSCompatibility, QoSProfile

LOOK_S = 5.0
"""How often a node looks what keeps messages from it."""
COMPRESSED, RAW = 'sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/Image'


def obstacle(node: Node, topic: str, kind: Any, qos: QoSProfile) -> str:
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


def latched(node: Node, topic: str) -> str:
    """Return a sentence where all publishers of a topic may have sent all before; else none."""
    offers = node.get_publishers_info_by_topic(topic)
    if not all(one.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for one in offers):
        return ''
    return (
        f'nothing came on {topic}, which is latched (transient local): what was sent before this'
        ' node was active is not heard; publish one with each picture'
    )


class Warnings:
    """Tells once what is in the way: the second time in turn, for discovery takes a while."""

    def __init__(self, log: RcutilsLogger) -> None:
        self._log = log
        self._times: dict[str, int] = {}

    def tell(self, sentences: Iterable[str]) -> None:
        """Take what is in the way now."""
        self._times = {sentence: self._times.get(sentence, 0) + 1 for sentence in sentences}
        for sentence, times in self._times.items():
            if times == 2:
                self._log.warning(sentence)
