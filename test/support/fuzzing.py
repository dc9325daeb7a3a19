"""
What every reader must bear: files and messages that are damaged, or made to do harm.

A case is a good file that was spoiled by hypothesis. What reads it must give a result or refuse it
with a NerfReversalError in one sentence. Any other exception, ten seconds of computing, or 2 GiB
more memory is a failure. By command, for as long as wanted:

    python test/fuzzing.py --cases 2000                 all readers
    python test/fuzzing.py --only map,r3d --seed 3      some, other cases
    python test/fuzzing.py --only bag_mcap --atheris -max_total_time=600     guided by coverage
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
"""What one case may take."""

# ---- how to spoil

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

_ODD_VALUES = st.sampled_from(_ODD).map(deepcopy)  # for they are spoiled further


def spoil_bytes(draw, content: bytes) -> bytes:
    """Overwrite, insert, cut out, repeat or cut off, often near the ends, where headers are."""
    spoiled = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        size = len(spoiled)
        near = st.integers(0, min(size, 256))
        at = draw(st.one_of(near, near.map(lambda n, size=size: size - n), st.integers(0, size)))
        how = draw(st.sampled_from(['overwrite', 'insert', 'cut out', 'repeat', 'cut off']))
        part = draw(_BYTES)
        if how == 'overwrite':
            spoiled[at : at + len(part)] = part
        elif how == 'insert':
            spoiled[at:at] = part
        elif how == 'cut out':
            del spoiled[at : at + draw(st.integers(1, 64))]
        elif how == 'repeat':
            spoiled[at:at] = spoiled[at : at + draw(st.integers(1, 64))]
        else:
            del spoiled[at:]
    return bytes(spoiled)


def spoil_text(draw, content: bytes) -> bytes:
    """Put words that mean something where they should not be."""
    text = content.decode(errors='replace')
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        end = at + draw(st.sampled_from([0, 0, 1, 8]))
        text = text[:at] + draw(st.sampled_from(_WORDS)) + text[end:]
    return text.encode(errors='replace')


def spoil_json(draw, content: bytes) -> bytes:
    """Replace, remove or add a value somewhere in the tree."""
    tree = json.loads(content)
    for _ in range(draw(st.integers(1, 3))):
        tree = _spoiled_tree(draw, tree)
    return json.dumps(tree).encode()


def _spoiled_tree(draw, tree: Any) -> Any:
    places = list(_places(tree))
    if not places:
        return draw(_ODD_VALUES)
    holder, key = draw(st.sampled_from(places))
    how = draw(st.sampled_from(['replace', 'replace', 'remove', 'double']))
    if how == 'remove':
        del holder[key]
    elif how == 'double' and isinstance(holder, list):
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


def spoil_safetensors(draw, content: bytes) -> bytes:
    """Spoil the header and keep the rest as it should be, or the numbers and not the header."""
    (size,) = struct.unpack_from('<Q', content)
    header, numbers = content[8 : 8 + size], content[8 + size :]
    if draw(st.booleans()):
        header = spoil_json(draw, header)
    else:
        numbers = spoil_bytes(draw, numbers)[: len(numbers)].ljust(len(numbers), b'\xff')
    return struct.pack('<Q', len(header)) + header + numbers


def spoil_zip(draw, path: Path) -> None:
    """Spoil one member and pack again, so that the checksums are right."""
    with zipfile.ZipFile(path) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = draw(st.sampled_from(sorted(members)))
    spoil = spoil_json if name == 'metadata' else spoil_bytes
    members[name] = spoil(draw, members[name])
    if draw(st.booleans()):
        members[draw(st.sampled_from(['../x', '/x', '', 'metadata', 'rgbd/0.jpg/']))] = b'x'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name or 'x'), content)


def spoil_file(draw, path: Path) -> None:
    """Spoil a file, mostly in a way that fits its kind."""
    content = path.read_bytes()
    ways: list[Callable] = [spoil_bytes]
    if path.suffix in ('.json', '.yaml', '.yml', '.txt') or path.name == 'metadata':
        ways += [spoil_text] * 2
    if path.suffix == '.json':
        ways += [spoil_json] * 3
    if path.suffix == '.safetensors':
        ways += [spoil_safetensors] * 3
    if path.suffix in ('.npz', '.r3d'):
        ways += [spoil_zip] * 2
    spoil = draw(st.sampled_from(ways))
    if spoil is spoil_zip:
        spoil_zip(draw, path)
    else:
        path.write_bytes(spoil(draw, content))


# ---- how to try


@dataclass
class Reader:
    """Something of the package that reads what came from elsewhere."""

    name: str
    attempt: Callable[[Any], None]
    """Given hypothesis' ``draw``, spoil something and read it."""
    plain: Callable[[], None] = lambda: None
    """Read the same unspoiled, which must be well."""


@dataclass
class Tally:
    """What became of the cases of a reader."""

    outcomes: Counter = field(default_factory=Counter)
    peak_mib: int = 0
    failure: str = ''
    sentences: set = field(default_factory=set)

    def one_sentence(self, error: NerfReversalError) -> None:
        said = str(error)
        assert said.strip() and '\n' not in said.strip(), f'not one sentence: {said!r}'
        assert len(said) < 2000, f'a sentence of {len(said)} characters: {said[:300]}'


class TooLong(BaseException):
    """A case took more than it may."""


def _too_long(*_):
    raise TooLong(f'more than {CPU_S} s of computing')


def files_reader(
    name: str,
    folder: Path,
    read: Callable[[Path], None],
    mend: Callable[[Path], None] = lambda _: None,
    only: tuple[str, ...] = (),
) -> Reader:
    """Return a reader of a folder, one of whose files is spoiled and then ``mend`` called."""
    whole = {path: path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}
    chosen = [path for path in whole if not only or path.name in only]

    def attempt(draw):
        for path, content in whole.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)
        spoil_file(draw, draw(st.sampled_from(chosen)))
        mend(folder)
        read(folder)

    return Reader(name, attempt, lambda: read(folder))


def limited(memory_bytes: int = MEMORY_BYTES) -> None:
    """Let this process have no more than so much memory beyond what it has."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limit = pages * resource.getpagesize() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def case_of(reader: Reader, tally: Tally) -> Callable:
    """Return the hypothesis test of a reader."""

    @given(st.data())
    def case(data):
        signal.signal(signal.SIGPROF, _too_long)
        signal.setitimer(signal.ITIMER_PROF, CPU_S)
        try:
            reader.attempt(data.draw)
            tally.outcomes['read'] += 1
        except NerfReversalError as error:
            tally.one_sentence(error)
            tally.outcomes['refused'] += 1
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    return case


def try_cases(reader: Reader, cases: int, number: int = 0) -> Tally:
    """Try so many cases in this process; a failure is in the tally, as small as it can be."""
    logging.disable(logging.CRITICAL)
    tally = Tally()
    phases = (Phase.generate, Phase.shrink)
    how = settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        reader.plain()
        seed(number)(how(case_of(reader, tally)))()
    except (Exception, TooLong):
        tally.failure = traceback.format_exc()
    tally.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return tally


def tried_in_a_process(map_dir: Path, name: str, cases: int, number: int, told: Path) -> None:
    """Do `try_cases` with little memory, and write the tally to the file ``told``."""
    from fuzz_readers import readers

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries in C complain there
    with tempfile.TemporaryDirectory() as own:
        reader = readers(map_dir)[name](Path(own))
        limited()
        tally = try_cases(reader, cases, number)
    outcome = {'outcomes': tally.outcomes, 'peak_mib': tally.peak_mib, 'failure': tally.failure}
    told.write_text(json.dumps(outcome))


def main() -> int:
    """Try all readers, or some, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--cases', type=int, default=1000, help='of each reader')
    parser.add_argument('--only', default='', help='names of readers, separated by commas')
    parser.add_argument('--seed', type=int, default=0, help='which cases')
    parser.add_argument('--map', type=Path, help='a map to spoil (default: a small one is built)')
    parser.add_argument(
        '--atheris',
        action='store_true',
        help='guided by coverage; further options: of libFuzzer',
    )
    given, others = parser.parse_known_args()
    names = given.only.split(',') if given.only else []
    if given.atheris:
        return guided(names, given.map, others)
    if others:
        parser.error(f'unknown {others[0]}')
    from fuzz_readers import readers
    from small_map import build_small_map

    failed = 0
    with tempfile.TemporaryDirectory() as own:
        map_dir = given.map or build_small_map(Path(own)).path
        print('| reader | cases | read | refused | peak memory |\n' + '|---' * 5 + '|', flush=True)
        for name in names or readers(map_dir):
            failed += not told_of(map_dir, name, given.cases, given.seed, Path(own) / 'told.json')
    return min(failed, 1)


def told_of(map_dir: Path, name: str, cases: int, number: int, told: Path) -> bool:
    """Try a reader in a process of its own, print its row; tell whether all went well."""
    from building import run

    told.unlink(missing_ok=True)
    status = run(tried_in_a_process, map_dir, name, cases, number, told)
    if not told.exists():
        print(f'{name}: the process ended with {status}', flush=True)
        return False
    tally = json.loads(told.read_text())
    read, refused = (tally['outcomes'].get(what, 0) for what in ('read', 'refused'))
    peak = f'{tally["peak_mib"]} MiB'
    print(f'| {name} | {read + refused} | {read} | {refused} | {peak} |', flush=True)
    print(tally['failure'], end='', flush=True)
    return not tally['failure']


def guided(names: list[str], map_dir: Path | None, options: list[str]) -> int:
    """Let atheris choose the cases of one reader, by what code of ours they reach."""
    try:
        import atheris
    except ImportError:
        print('atheris is not installed, or has no wheel for this Python: pip install atheris')
        return 2
    if len(names) != 1:
        print('atheris tries one reader: name it with --only')
        return 2
    with atheris.instrument_imports(include=['nerf_reversal_ros']):
        from fuzz_readers import readers
        from small_map import build_small_map
    with tempfile.TemporaryDirectory() as own:
        spoiled = map_dir
        if spoiled is None and names == ['map']:
            spoiled = build_small_map(Path(own)).path
        reader = readers(spoiled)[names[0]](Path(own))
        case = settings(deadline=None, database=None)(case_of(reader, Tally()))
        logging.disable(logging.CRITICAL)
        limited()
        atheris.Setup([sys.argv[0], '-rss_limit_mb=0', *options], case.hypothesis.fuzz_one_input)
        atheris.Fuzz()
    return 0


if __name__ == '__main__':
    sys.exit(main())
