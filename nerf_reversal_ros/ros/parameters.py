"""
Parameters of a node, from the dataclasses that define its settings.

rclpy ignores a parameter that nobody declared, so that a typo in a YAML file goes unnoticed.
Here every name that was given is compared with the known ones, and an unknown one is refused.
"""

from collections.abc import Callable, Mapping
import dataclasses
import difflib
import threading
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from nerf_reversal_ros.core.config import config_from_dict
from nerf_reversal_ros.core.errors import ConfigError

T = TypeVar('T')

_ROS_PARAMETERS = ('use_sim_time', 'start_type_description_service')
_WILDCARD_HINT = (
    ' (what a params file has under /** is for all nodes: put this under the name of the node that'
    ' knows it, if there is one)'
)
_ROS_QOS_PREFIXES = ('qos_overrides./clock', 'qos_overrides./parameter_events')


class NodeParameters:
    """
    The options of some dataclasses, as parameters of one node.

    Parameters
    ----------
    node : Node
        Made with ``automatically_declare_parameters_from_overrides=True``, so that unknown names
        can be seen.
    classes : types
        Dataclasses of options; no name may be in two of them.
    unlocked : callable, optional
        Tells whether read-only options may change at present, as those of a lifecycle node that
        is not configured yet; without it they never do.

    Raises
    ------
    ConfigError
        On an unknown name (with the nearest known one) or an impossible value.
    """

    def __init__(
        self, node: Node, *classes: type, allow_read_only: Callable[[], bool] | None = None
    ) -> None:
        self._node, self._allow_read_only = node, allow_read_only
        self._internal_thread: int | None = None
        self.lock = threading.RLock()
        """Held while a parameter is set."""
        self._options = {item.name: item for cls in classes for item in dataclasses.fields(cls)}
        given = _read_overrides(node)
        _check_known(given, list(self._options), _WILDCARD_HINT)
        self._configs: dict[type, Any] = {
            cls: config_from_dict(
                cls, {k: v for k, v in given.items() if k in _setting_names(cls)}
            )
            for cls in classes
        }
        for name in given:
            node.undeclare_parameter(name)
        for config in self._configs.values():
            for item in dataclasses.fields(config):
                value = getattr(config, item.name)
                # The value is passed over the override, which may be an integer for a float.
                descriptor = _descriptor(item, read_only_may_change=allow_read_only is not None)
                node.declare_parameter(item.name, value, descriptor, ignore_override=True)
        node.add_on_set_parameters_callback(self._on_set)

    def get(self, cls: type[T]) -> T:
        """Return the present settings of one of the dataclasses."""
        config: T = self._configs[cls]
        return config

    def set_internal(self, name: str, value: Any) -> None:
        """Set an option from inside the node, also a read-only one."""
        with self.lock:
            self._internal_thread = threading.get_ident()
            try:
                result = self._node.set_parameters([Parameter(name, value=value)])[0]
            finally:
                self._internal_thread = None
        if not result.successful:
            raise ConfigError(result.reason)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        with self.lock:
            return self._set(parameters)

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = {p.name: p.value for p in parameters if p.name not in _ROS_PARAMETERS}
        try:
            _check_known(changes, list(self._options))
            for name in changes:
                self._check_read_only(name)
            configs = {
                cls: dataclasses.replace(
                    config, **{k: v for k, v in changes.items() if k in _setting_names(cls)}
                )
                for cls, config in self._configs.items()
            }
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._configs = configs
        return SetParametersResult(successful=True)

    def _check_read_only(self, name: str) -> None:
        if not self._options[name].metadata['read_only']:
            return
        if self._allow_read_only is None:
            raise ConfigError(
                f'{name} cannot change while the node runs: start it with another value'
            )
        if not self._allow_read_only() and self._internal_thread != threading.get_ident():
            raise ConfigError(
                f'{name} cannot change while the node is configured: clean it up, set it, and'
                ' configure again'
            )


def _setting_names(cls: type) -> list[str]:
    return [item.name for item in dataclasses.fields(cls)]


def _read_overrides(node: Node) -> dict[str, Any]:
    return {
        name: node.get_parameter(name).value
        for name in node.get_parameters_by_prefix('')
        if name not in _ROS_PARAMETERS and not name.startswith(_ROS_QOS_PREFIXES)
    }


def _check_known(given: Mapping[str, Any], known: list[str], hint: str = '') -> None:
    for name in given:
        if name.startswith('qos_overrides.'):
            raise ConfigError(f'{name} is not taken: set the parameter reliability instead')
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
            remedy = f'did you mean {near[0]}?' if near else f'known are {", ".join(known)}'
            raise ConfigError(f'unknown parameter {name}: {remedy}{hint}')


def _descriptor(
    item: 'dataclasses.Field[Any]', *, read_only_may_change: bool
) -> ParameterDescriptor:
    meta = item.metadata
    low, high = meta['low'], meta['high']
    descriptor = ParameterDescriptor(description=meta['description'])
    if read_only_may_change and meta['read_only']:
        descriptor.description += ' (may change while the node is unconfigured)'
    else:
        descriptor.read_only = meta['read_only']
    if meta['choices']:
        descriptor.additional_constraints = f'one of {", ".join(meta["choices"])}'
    if low is not None and high is not None:
        if isinstance(item.default, float):
            span = FloatingPointRange(from_value=float(low), to_value=float(high))
            descriptor.floating_point_range = [span]
        else:
            span = IntegerRange(from_value=int(low), to_value=int(high), step=1)
            descriptor.integer_range = [span]
    elif low is not None:  # a range without an end is more than tools can draw a slider for
        descriptor.additional_constraints = f'at least {low}'
    return descriptor
