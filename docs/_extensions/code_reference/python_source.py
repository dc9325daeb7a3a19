"""
Python files of the package, read as text and never run.

The nodes import ROS, which a machine that builds the documentation need not have. What the
reference needs of them are literals: settings, topics, keys of dictionaries.
"""

import ast
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]


class UnreadableError(Exception):
    """An expression that is not made of literals and known constants."""


class PythonSource:
    """
    One Python file.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text(encoding='utf-8'))

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Module and name there, by the name that this file uses, of ``from ... import``."""
        return {
            alias.asname or alias.name: (node.module, alias.name)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }

    @cached_property
    def assignments(self) -> dict[str, ast.expr]:
        """Expressions by the name that they are assigned to, anywhere; the first one counts."""
        found: dict[str, ast.expr] = {}
        for node in ast.walk(self.tree):
            for name, value in _assigned(node):
                found.setdefault(name, value)
        return found

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """Classes at the top of the file, by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    def find_class(self, name: str) -> 'tuple[PythonSource, ast.ClassDef] | None':
        """Return a class of this file or of one of the package that it is imported from."""
        if name in self.classes:
            return self, self.classes[name]
        if (source := self.imported_from(name)) is not None:
            return source.find_class(self.imports[name][1])
        return None

    def imported_from(self, name: str) -> 'PythonSource | None':
        """Return the file of the package that a name is imported from, if it is one."""
        module, _ = self.imports.get(name, ('', ''))
        path = REPOSITORY.joinpath(*module.split('.'))
        for file in (path.with_suffix('.py'), path / '__init__.py'):
            if module and file.is_file():
                return python_source(file)
        return None

    def evaluate(self, node: ast.expr) -> Any:
        """
        Return the value of an expression of literals and constants.

        Raises
        ------
        UnreadableError
            If anything would have to be called to know it.
        """
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Tuple(elts=items):
                return tuple(map(self.evaluate, items))
            case ast.List(elts=items):
                return list(map(self.evaluate, items))
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                return {self.evaluate(k): self.evaluate(v) for k, v in pairs if k is not None}
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.evaluate(operand)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.evaluate(left) + self.evaluate(right)
            case ast.JoinedStr(values=parts):
                return ''.join(str(self.evaluate(part)) for part in parts)
            case ast.FormattedValue(value=value):
                return self.evaluate(value)
            case ast.Name(id=name):
                return self._value_of(name)
        raise UnreadableError(f'{self.path}: {ast.unparse(node)}')

    def _value_of(self, name: str) -> Any:
        if name in self.assignments:
            return self.evaluate(self.assignments[name])
        if (source := self.imported_from(name)) is not None:
            return source._value_of(self.imports[name][1])
        raise UnreadableError(f'{self.path}: {name}')


@cache
def python_source(path: Path) -> PythonSource:
    """Return a file, parsed once."""
    return PythonSource(path)


def package_sources(folder: str = 'nerf_reversal_ros') -> Iterator[PythonSource]:
    """Go through the Python files below a folder of the repository."""
    for path in sorted(REPOSITORY.joinpath(folder).rglob('*.py')):
        yield python_source(path)


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield the plain names that a statement assigns to, with their expressions."""
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        targets: list[ast.expr] = [node.target]
    elif isinstance(node, ast.Assign):
        targets = node.targets
    else:
        return
    assert node.value is not None
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id, node.value
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for item, value in zip(target.elts, node.value.elts, strict=False):
                if isinstance(item, ast.Name):
                    yield item.id, value
