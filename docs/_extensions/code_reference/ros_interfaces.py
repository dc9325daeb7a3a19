"""Messages, services and actions by the comments of their files; topics of the nodes."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain, pairwise
import re
from typing import Any, NamedTuple
from xml.etree import ElementTree

from code_reference.markdown import code, prose, table
from code_reference.python_source import (
    package_sources,
    python_source,
    PythonSource,
    REPOSITORY,
    UnreadableError,
)

POLICY = REPOSITORY / 'config/sros2/policy.xml'
OF_EVERY_NODE = (
    '/clock',
    '/parameter_events',
    '/rosout',
    '~/describe_parameters',
    '~/get_parameter_types',
    '~/get_parameters',
    '~/get_type_description',
    '~/list_parameters',
    '~/set_parameters',
    '~/set_parameters_atomically',
    '~/change_state',
    '~/get_available_states',
    '~/get_available_transitions',
    '~/get_state',
    '~/get_transition_graph',
    '~/transition_event',
)
"""What rclpy gives to a node, or to a lifecycle node, by itself."""
DIRECTIONS = {
    ('topic', 'subscribe'): 'in',
    ('topic', 'publish'): 'out',
    ('service', 'reply'): 'service',
    ('service', 'request'): 'calls',
    ('action', 'execute'): 'action',
}
PARTS = {'msg': ('',), 'srv': ('Request', 'Response'), 'action': ('Goal', 'Result', 'Feedback')}
_ENTRY = re.compile(r'(?P<type>[\w/\[\]<=]+)\s+(?P<name>\w+)\s*(=\s*(?P<value>"[^"]*"|[^#\s]+))?')


class Entry(NamedTuple):
    """A field or a constant of an interface."""

    type: str
    name: str
    value: str
    """Of a constant; empty for a field."""
    comment: str


Block = str | list[Entry]
"""A comment that stands by itself, or the entries after it."""


def interface_blocks(text: str) -> list[list[Block]]:
    """Return the parts of an interface file, each as comments and entries in their order."""
    parts: list[list[Block]] = [[]]
    indented = False
    for line in text.splitlines():
        stripped = line.strip()
        blocks = parts[-1]
        if stripped == '---':
            parts.append([])
        elif not stripped:
            blocks.append('')
        elif stripped.startswith('#'):
            comment = stripped.lstrip('#').strip()
            indented = line.startswith(' ')
            if indented and blocks and isinstance(blocks[-1], list):
                last = blocks[-1][-1]
                blocks[-1][-1] = last._replace(comment=f'{last.comment} {comment}'.strip())
            elif blocks and isinstance(blocks[-1], str) and blocks[-1]:
                blocks[-1] += f' {comment}'
            else:
                blocks.append(comment)
        else:
            entry = _entry(stripped)
            if not blocks or isinstance(blocks[-1], str):
                blocks.append([])
            rows = blocks[-1]
            assert isinstance(rows, list)
            rows.append(entry)
    return parts


def interface_markdown(path: str) -> list[str]:
    """Return an interface file as prose and tables."""
    text = REPOSITORY.joinpath(path).read_text(encoding='utf-8')
    lines: list[str] = []
    titles = PARTS[path.rpartition('.')[2]]
    for number, (title, blocks) in enumerate(zip(titles, interface_blocks(text), strict=True)):
        parts = [
            [prose(block), ''] if isinstance(block, str) else _entries_table(block)
            for block in blocks
            if block
        ]
        if not number and parts and isinstance(blocks[0], str):
            lines += parts.pop(0)
        lines += [f'**{title}**', ''] if title else []
        lines += chain.from_iterable(parts)
    return lines


def node_names(node: str) -> dict[str, tuple[str, ...]]:
    """
    Return what a node has on the graph, with its directions.

    They are those of ``config/sros2/policy.xml``, which a test compares with the running nodes.
    """
    found: dict[str, tuple[str, ...]] = {}
    for profile in ElementTree.parse(POLICY).iter('profile'):
        if profile.get('node') != node:
            continue
        for group in profile:
            for item in group:
                name = str(item.text)
                allowed = [key for key, value in group.attrib.items() if value == 'ALLOW']
                directions = tuple(DIRECTIONS[item.tag, key] for key in allowed)
                if name not in OF_EVERY_NODE:
                    found[name] = found.get(name, ()) + directions
    if not found:
        raise ValueError(f'{POLICY} has no node {node}')
    return found


@cache
def types_by_name() -> dict[str, set[str]]:
    """Return the types of topics, services and actions, by the names that the nodes use."""
    found: dict[str, set[str]] = {}
    for source in package_sources('nerf_reversal_ros/ros'):
        for kind, name in _typed_names(source):
            found.setdefault(name, set()).add(kind)
    return found


def node_markdown(node: str, described: Mapping[str, Any]) -> list[str]:
    """
    Return a table of the topics, services and actions of a node.

    Parameters
    ----------
    node : str
        Its name.
    described : mapping
        What each is for, by name; or ``{type: ..., text: ...}`` where the type is not in the
        code.

    Raises
    ------
    ValueError
        If the node has others than those that are described.
    """
    names = node_names(node)
    if names.keys() != described.keys():
        raise ValueError(
            f'the node {node} and its description differ: not described'
            f' {sorted(names.keys() - described.keys())}, not there'
            f' {sorted(described.keys() - names.keys())}'
        )
    rows = []
    for name, told in described.items():
        text = told['text'] if isinstance(told, Mapping) else told
        types = {told['type']} if isinstance(told, Mapping) else types_by_name().get(name, set())
        if not types:
            raise ValueError(f'the type of {name} of the node {node} is not in the code')
        kinds = ', '.join(_linked(kind) for kind in sorted(types))
        directions = ', '.join(dict.fromkeys(names[name]))
        rows.append([code(name), directions, f'{text}<br>{kinds}'])
    return table(['Name', 'Direction', 'Purpose and type'], rows)


def launch_arguments(file: str) -> dict[str, tuple[str | None, str]]:
    """Return default, None if there is none, and description of a launch file's arguments."""
    source = python_source(REPOSITORY / 'launch' / file)
    found = {}
    for constant in ('ARGUMENTS', 'PARAMETERS'):
        node = source.assignments.get(constant)
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            assert key is not None and isinstance(value, ast.Tuple)
            default, description = value.elts
            shown = '' if constant == 'PARAMETERS' else _default(source, default)
            found[str(source.evaluate(key))] = shown, str(source.evaluate(description))
    return found


def launch_markdown(file: str) -> list[str]:
    """Return a table of the arguments of a launch file."""
    rows = [
        [code(name), '*required*' if default is None else code(default or "''"), prose(text)]
        for name, (default, text) in launch_arguments(file).items()
    ]
    return table(['Argument', 'Default', 'Meaning'], rows)


def _entry(line: str) -> Entry:
    match = _ENTRY.match(line)
    if match is None:
        raise ValueError(f'not a field of an interface: {line}')
    comment = line[match.end() :].strip().lstrip('#').strip()
    return Entry(match['type'], match['name'], match['value'] or '', comment)


def _entries_table(entries: list[Entry]) -> list[str]:
    if all(entry.value for entry in entries):
        if not any(entry.comment for entry in entries):
            rows = [[code(e.name), code(e.value)] for e in entries]
            return table(['Constant', 'Value'], rows)
        rows = [[code(e.name), code(e.value), prose(e.comment)] for e in entries]
        return table(['Constant', 'Value', 'Meaning'], rows)
    rows = [
        [code(e.name), '<br>'.join(filter(None, (prose(e.comment), code(e.type))))]
        for e in entries
    ]
    return table(['Field', 'Meaning and type'], rows)


def _typed_names(source: PythonSource) -> Iterator[tuple[str, str]]:
    """Yield type and name of what a file gives to rclpy, side by side in a call or a tuple."""
    for node in ast.walk(source.tree):
        items = node.args if isinstance(node, ast.Call) else getattr(node, 'elts', [])
        for kind, name in pairwise(items):
            message = _message(source, kind)
            if message is None:
                continue
            try:
                text = source.evaluate(name)
            except UnreadableError:
                continue
            if isinstance(text, str) and text:
                yield message, text


def _message(source: PythonSource, node: ast.expr) -> str | None:
    """Return ``package/Type`` where an expression is the class of a message."""
    if not isinstance(node, ast.Name):
        return None
    alias = source.assignments.get(node.id)
    if isinstance(alias, ast.Name) and alias.id != node.id:
        return _message(source, alias)
    module, name = source.imports.get(node.id, ('', ''))
    package, _, kind = module.rpartition('.')
    return f'{package}/{name}' if kind in PARTS else None


def _linked(kind: str) -> str:
    package, _, name = kind.partition('/')
    ours = package == 'nerf_reversal_ros'
    return f'[{name}](messages.md#{name.lower()})' if ours else code(kind)


def _default(source: PythonSource, node: ast.expr) -> str | None:
    try:
        value = source.evaluate(node)
    except UnreadableError:  # the folder of the installed package, and what is in it
        node = source.assignments.get(node.id, node) if isinstance(node, ast.Name) else node
        named = {
            name: ast.unparse(value)
            for name, value in source.assignments.items()
            if isinstance(value, ast.List)
        }
        text = ast.unparse(node)
        for name, value in named.items():
            text = text.replace(f'*{name}', value)
        return 'SHARE' + ''.join(re.findall(r"'(/[^']*|\w+\.\w+)'", text))
    return None if value is None else str(value)
