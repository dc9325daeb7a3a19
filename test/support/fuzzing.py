"""
Fuzz every reader with files and messages that are corrupt or malicious.

A case is a valid file that hypothesis mutates. The reader must return a result, or reject the file
with a NerfReversalError of one sentence. Any other exception, 10 s of CPU time, or 2 GiB of
additional memory is a failure. Longer runs from the command line:

    python test/support/fuzzing.py --cases 2000                 all readers
    python test/support/fuzzing.py --only map,r3d --seed 3      some readers, other cases
    python test/support/fuzzing.py --only bag_mcap --atheris -max_total_time=600     by coverage
"""

import argparse
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
import json
import logging
import os
from pathlib import Path
import resource
import signal
import struct
import sys
import tempfile
import traceback
from typing import Any
import zipfile

from hypothesis import given, HealthCheck, Phase, seed, settings, strategies as st

from nerf_reversal_ros.core.errors import NerfReversalError

CPU_S, MEMORY_BYTES = 10, 2 << 30
"""Limits of one case: CPU time, and memory beyond that of the process."""

# ---- mutations

_NUMBERS = [0, 1, 0x7F, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1]
_BYTES = st.one_of(
    st.binary(max_size=16),
    st.sampled_from(_NUMBERS).map(lambda n: struct.pack('<Q', n)),
    st.sampled_from(_NUMBERS).map(lambda n: struct.pack('>Q', n)),
    st.sampled_from(_NUMBERS).map(lambda n: struct.pack('<I', n & 0xFFFFFFFF)),
    st.sampled_from(_NUMBERS).map(lambda n: struct.pack('>H', n & 0xFFFF)),
)
_WORDS = [
    *(
        'null',
        'NaN',
        'Infinity',
        '-1',
        '1e999',
        '9' * 400,
        '""',
        '[]',
        '{}',
        '[' * 3000,
        '\\ud800',
    ),
    *(
        '!!python/object/apply:os.system ["true"]',
        '!!timestamp "2023-99-99"',
        '!!int "x"',
        '<<: 1',
    ),
    *('&a [*a]', '*b', '? [1]\n: 2', '!!binary "%"', '2023-99-99', '0x', '0b', '!!float "."', '='),
    *('!!set {a}', '!!omap [1]', '!!pairs 3', '\0', '\n', '\t', ':', '../../etc/passwd', '/etc'),
]
_ODD: list[Any] = [
    *(None, True, 0, -1, 1, 2**31, 2**64, 10**400, 0.5, -0.0, 1e308, float('nan'), float('inf')),
    *('', '0', 'nan', '../../etc/passwd', '/etc/passwd', '\0', '\ud800', 'a' * 5000, 'ü'),
    *([], {}, [[]], [None], {'': None}, [0] * 3, [[0.0] * 4] * 4, [[float('nan')] * 4] * 4),
]

_ODD_VALUES = st.sampled_from(_ODD).map(deepcopy)  # copies, because they are mutated further


def mutate_bytes(draw, content: bytes) -> bytes:
    """Overwrite, insert, delete, repeat or truncate, often near the ends, where headers are."""
    mutated = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        size = len(mutated)
        near = st.integers(0, min(size, 256))
        at = draw(st.one_of(near, near.map(lambda n, size=size: size - n), st.integers(0, size)))
        mutation = draw(st.sampled_from(['overwrite', 'insert', 'delete', 'repeat', 'truncate']))
        part = draw(_BYTES)
        if mutation == 'overwrite':
            mutated[at : at + len(part)] = part
        elif mutation == 'insert':
            mutated[at:at] = part
        elif mutation == 'delete':
            del mutated[at : at + draw(st.integers(1, 64))]
        elif mutation == 'repeat':
            mutated[at:at] = mutated[at : at + draw(st.integers(1, 64))]
        else:
            del mutated[at:]
    return bytes(mutated)


def mutate_text(draw, content: bytes) -> bytes:
    """Insert tokens with a meaning in JSON, YAML or paths at random positions."""
    text = content.decode(errors='replace')
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        end = at + draw(st.sampled_from([0, 0, 1, 8]))
        text = text[:at] + draw(st.sampled_from(_WORDS)) + text[end:]
    return text.encode(errors='replace')


def mutate_json(draw, content: bytes) -> bytes:
    """Replace, remove or duplicate values in the tree."""
    tree = json.loads(content)
    for _ in range(draw(st.integers(1, 3))):
        tree = _mutate_tree(draw, tree)
    return json.dumps(tree).encode()


def _mutate_tree(draw, tree: Any) -> Any:
    places = list(_places(tree))
    if not places:
        return draw(_ODD_VALUES)
    holder, key = draw(st.sampled_from(places))
    mutation = draw(st.sampled_from(['replace', 'replace', 'remove', 'duplicate']))
    if mutation == 'remove':
        del holder[key]
    elif mutation == 'duplicate' and isinstance(holder, list):
        holder.insert(key, holder[key])
    else:
        holder[key] = draw(_ODD_VALUES)
    return tree


def _places(tree: Any):
    pairs = tree.items() if isinstance(tree, dict) else ()
    pairs = enumerate(tree) if isinstance(tree, list) else pairs
    for key, item in list(pairs):
        yield tree, key
        yield from _places(item)


def mutate_safetensors(draw, content: bytes) -> bytes:
    """Mutate either the header or the numbers, so that the other part stays valid."""
    (size,) = struct.unpack_from('<Q', content)
    header, numbers = content[8 : 8 + size], content[8 + size :]
    if draw(st.booleans()):
        header = mutate_json(draw, header)
    else:
        numbers = mutate_bytes(draw, numbers)[: len(numbers)].ljust(len(numbers), b'\xff')
    return struct.pack('<Q', len(header)) + header + numbers


def mutate_zip(draw, path: Path) -> None:
    """Mutate one member and pack again, so that the checksums are valid."""
    with zipfile.ZipFile(path) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = draw(st.sampled_from(sorted(members)))
    mutate = mutate_json if name == 'metadata' else mutate_bytes
    members[name] = mutate(draw, members[name])
    if draw(st.booleans()):
        members[draw(st.sampled_from(['../x', '/x', '', 'metadata', 'rgbd/0.jpg/']))] = b'x'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name or 'x'), content)


def mutate_file(draw, path: Path) -> None:
    """Mutate a file, mostly in a way that fits its format."""
    content = path.read_bytes()
    mutations: list[Callable] = [mutate_bytes]
    if path.suffix in ('.json', '.yaml', '.yml', '.txt') or path.name == 'metadata':
        mutations += [mutate_text] * 2
    if path.suffix == '.json':
        mutations += [mutate_json] * 3
    if path.suffix == '.safetensors':
        mutations += [mutate_safetensors] * 3
    if path.suffix in ('.npz', '.r3d'):
        mutations += [mutate_zip] * 2
    mutate = draw(st.sampled_from(mutations))
    if mutate is mutate_zip:
        mutate_zip(draw, path)
    else:
        path.write_bytes(mutate(draw, content))


# ---- cases


@dataclass
class Reader:
    """A function of the package that reads untrusted input."""

    name: str
    attempt: Callable[[Any], None]
    """Mutate the input with ``draw`` of hypothesis, and read it."""
    read_valid: Callable[[], None] = lambda: None
    """Read the valid input, which must succeed."""


@dataclass
class Tally:
    """Outcomes of the cases of a reader."""

    outcomes: Counter = field(default_factory=Counter)
    peak_mib: int = 0
    failure: str = ''
    sentences: set = field(default_factory=set)

    def check_sentence(self, error: NerfReversalError) -> None:
        text = str(error)
        assert text.strip() and '\n' not in text.strip(), f'not one sentence: {text!r}'
        assert len(text) < 2000, f'a sentence of {len(text)} characters: {text[:300]}'


class CpuTimeExceeded(BaseException):
    """A case exceeded `CPU_S`; no reader catches a BaseException."""


def _raise_timeout(*_):
    raise CpuTimeExceeded(f'more than {CPU_S} s of CPU time')


def files_reader(
    name: str,
    folder: Path,
    read: Callable[[Path], None],
    repair: Callable[[Path], None] = lambda _: None,
    only: tuple[str, ...] = (),
) -> Reader:
    """Return a reader of a folder: one file is mutated, then ``repair`` is called."""
    contents = {path: path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}
    chosen = [path for path in contents if not only or path.name in only]

    def attempt(draw):
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)
        mutate_file(draw, draw(st.sampled_from(chosen)))
        repair(folder)
        read(folder)

    return Reader(name, attempt, lambda: read(folder))


def limit_memory(memory_bytes: int = MEMORY_BYTES) -> None:
    """Limit the memory of this process to its current size and ``memory_bytes``."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limit = pages * resource.getpagesize() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def make_case(reader: Reader, tally: Tally) -> Callable:
    """Return the hypothesis test of a reader."""

    @given(st.data())
    def case(data):
        signal.signal(signal.SIGPROF, _raise_timeout)
        signal.setitimer(signal.ITIMER_PROF, CPU_S)
        try:
            reader.attempt(data.draw)
            tally.outcomes['read'] += 1
        except NerfReversalError as error:
            tally.check_sentence(error)
            tally.outcomes['rejected'] += 1
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    return case


def try_cases(reader: Reader, cases: int, seed_number: int = 0) -> Tally:
    """Run cases in this process; a failure is in the tally, shrunk by hypothesis."""
    logging.disable(logging.CRITICAL)
    tally = Tally()
    phases = (Phase.generate, Phase.shrink)
    options = settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        reader.read_valid()
        seed(seed_number)(options(make_case(reader, tally)))()
    except (Exception, CpuTimeExceeded):
        tally.failure = traceback.format_exc()
    tally.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return tally


def try_in_process(map_dir: Path, name: str, cases: int, seed_number: int, report: Path) -> None:
    """Run `try_cases` with limited memory, and write the tally to a file."""
    from fuzz_readers import readers

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C libraries write there
    with tempfile.TemporaryDirectory() as own:
        reader = readers(map_dir)[name](Path(own))
        limit_memory()
        tally = try_cases(reader, cases, seed_number)
    summary = {'outcomes': tally.outcomes, 'peak_mib': tally.peak_mib, 'failure': tally.failure}
    report.write_text(json.dumps(summary))


def main() -> int:
    """Fuzz all readers, or some, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--cases', type=int, default=1000, help='number of cases of each reader')
    parser.add_argument('--only', default='', help='names of readers, separated by commas')
    parser.add_argument('--seed', type=int, default=0, help='seed of the cases')
    parser.add_argument('--map', type=Path, help='map to mutate (default: a small one is built)')
    parser.add_argument(
        '--atheris',
        action='store_true',
        help='guide by coverage; further options are those of libFuzzer',
    )
    arguments, others = parser.parse_known_args()
    names = arguments.only.split(',') if arguments.only else []
    if arguments.atheris:
        return fuzz_with_atheris(names, arguments.map, others)
    if others:
        parser.error(f'unknown {others[0]}')
    from fuzz_readers import readers
    from small_map import build_small_map

    failed = 0
    with tempfile.TemporaryDirectory() as own:
        map_dir = arguments.map or build_small_map(Path(own)).path
        print(
            '| reader | cases | read | rejected | peak memory |\n' + '|---' * 5 + '|', flush=True
        )
        for name in names or readers(map_dir):
            report = Path(own) / 'report.json'
            failed += not print_row(map_dir, name, arguments.cases, arguments.seed, report)
    return min(failed, 1)


def print_row(map_dir: Path, name: str, cases: int, seed_number: int, report: Path) -> bool:
    """Fuzz a reader in a process of its own, and print its row; return whether it passed."""
    from building import run

    report.unlink(missing_ok=True)
    status = run(try_in_process, map_dir, name, cases, seed_number, report)
    if not report.exists():
        print(f'{name}: the process ended with {status}', flush=True)
        return False
    tally = json.loads(report.read_text())
    read, rejected = (tally['outcomes'].get(outcome, 0) for outcome in ('read', 'rejected'))
    peak = f'{tally["peak_mib"]} MiB'
    print(f'| {name} | {read + rejected} | {read} | {rejected} | {peak} |', flush=True)
    print(tally['failure'], end='', flush=True)
    return not tally['failure']


def fuzz_with_atheris(names: list[str], map_dir: Path | None, options: list[str]) -> int:
    """Fuzz one reader with atheris, guided by the coverage of the package."""
    try:
        import atheris
    except ImportError:
        print('atheris is not installed, or has no wheel for this Python: pip install atheris')
        return 2
    if len(names) != 1:
        print('atheris fuzzes one reader: name it with --only')
        return 2
    with atheris.instrument_imports(include=['nerf_reversal_ros']):
        from fuzz_readers import readers
        from small_map import build_small_map
    with tempfile.TemporaryDirectory() as own:
        source = map_dir
        if source is None and names == ['map']:
            source = build_small_map(Path(own)).path
        reader = readers(source)[names[0]](Path(own))
        case = settings(deadline=None, database=None)(make_case(reader, Tally()))
        logging.disable(logging.CRITICAL)
        limit_memory()
        atheris.Setup([sys.argv[0], '-rss_limit_mb=0', *options], case.hypothesis.fuzz_one_input)
        atheris.Fuzz()
    return 0


if __name__ == '__main__':
    sys.exit(main())
