"""
A Sphinx extension that makes the reference from the code, so that it cannot go stale.

Each directive is one function from files of the repository to Markdown. Where a page describes
what the code has (topics, keys, files), the build fails if one has what the other lacks.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
import yaml

from code_reference import (
    benchmarks,
    command_line,
    json_keys,
    public_api,
    rejections,
    ros_interfaces,
    settings,
)
from code_reference.python_source import package_sources, REPOSITORY

Generator = Callable[[list[str], dict[str, Any]], list[str]]
"""From the arguments of a directive and its body, read as YAML, to lines of Markdown."""


class GeneratedDirective(SphinxDirective):
    """Puts the Markdown of a `Generator` in its place."""

    has_content = True
    optional_arguments = 9
    generate: ClassVar[Generator]

    def run(self) -> list[nodes.Node]:
        """Generate, and parse what came of it."""
        body = yaml.safe_load('\n'.join(self.content)) or {}
        try:
            lines = type(self).generate(self.arguments, body)
        except (ValueError, OSError, ImportError) as error:
            raise self.error(f'{self.name}: {error}') from error
        return self.parse_text_to_nodes('\n'.join(lines), allow_section_headings=True)


def _build_settings(arguments: list[str], _: dict[str, Any]) -> list[str]:
    return settings.config_markdown(*settings.class_source(arguments[0]))


GENERATORS: dict[str, Generator] = {
    'command-line': lambda arguments, _: command_line.commands_markdown(),
    'settings': _build_settings,
    'node-parameters': lambda arguments, _: settings.parameters_markdown(arguments[0]),
    'node-interface': lambda arguments, body: ros_interfaces.node_markdown(arguments[0], body),
    'ros-interface': lambda arguments, _: ros_interfaces.interface_markdown(arguments[0]),
    'launch-arguments': lambda arguments, _: ros_interfaces.launch_markdown(arguments[0]),
    'rejection-reasons': lambda arguments, _: rejections.reasons_markdown(arguments[0]),
    'json-keys': lambda arguments, body: json_keys.keys_markdown(arguments[0], arguments[1], body),
    'public-api': lambda _, __: public_api.api_markdown(),
    'benchmark': lambda arguments, _: benchmarks.benchmark_markdown(arguments[0]),
    'map-files': lambda _, body: json_keys.map_files_markdown(body),
}
"""What makes the content of a directive, by its name."""


def note_sources(app: Sphinx, docname: str, _: list[str]) -> None:
    """Let the pages of the reference be read again when a file that they come from changes."""
    if docname.startswith('explanation/'):
        for result in benchmarks.RESULTS.glob('*.json'):
            app.env.note_dependency(str(result), docname=docname)
    if not docname.startswith('reference/'):
        return
    files = [source.path for source in package_sources()]
    for folder in ('msg', 'srv', 'action', 'launch', 'config'):
        files += [path for path in REPOSITORY.joinpath(folder).rglob('*') if path.is_file()]
    for file in files:
        app.env.note_dependency(str(file), docname=docname)


def resolve_public_name(
    app: Sphinx, env: BuildEnvironment, node: nodes.Element, content: nodes.TextElement
) -> nodes.Element | None:
    """Link a class that is named by its module to where the public API has it."""
    target = str(node.get('reftarget', ''))
    if node.get('refdomain') != 'py' or not target.startswith('nerf_reversal_ros.'):
        return None
    public = f'nerf_reversal_ros.{target.rpartition(".")[2]}'
    source, kind = node.get('refdoc', ''), node['reftype']
    domain = env.domains['py']
    return domain.resolve_xref(env, source, app.builder, kind, public, node, content)


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directives."""
    for name, generator in GENERATORS.items():
        kind = type(name, (GeneratedDirective,), {'generate': staticmethod(generator)})
        app.add_directive(name, kind)
    app.connect('source-read', note_sources)
    app.connect('missing-reference', resolve_public_name)
    return {'version': '1', 'parallel_read_safe': True, 'parallel_write_safe': True}
