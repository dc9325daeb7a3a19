"""
Measure how the choice of the room scales: with real rooms, and with thousands of made ones.

    python benchmark/building_scale.py BUILDING --flat TRUTH.json WALK ... [--room NAME=BAG ...]
        [--rooms 1,2,4,8] [--made 1000,10000] [--every N] [--out FILE.json]

The first table ranks real rooms: the index is built anew of the first rooms of the building, and
the test images taken in them are ranked.

The second table searches among made rooms beside the real ones. A made room has the views of a
real one, whose coordinates have new signs in the index, all but the first, the mean. So views of
one room lie to each other as in the real one, and two rooms are as similar as different real ones.
The search finds the rooms of the most similar views, as `ViewIndex.rank` does first; the landmarks
that are compared then do not grow with the number of rooms. Where faiss-cpu is installed, its
inverted file with 8 bit a number is measured beside the exact search.

The last table tells what a room costs: its size on disk and in time of its build, by the area of
the floor.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
import importlib.util
import json
import time
from typing import Any, NamedTuple

from building import add_walk_arguments, open_walks, Walk
import numpy as np
from numpy.typing import NDArray
from results import add_out_argument, Column, ResultTable, write_results

from nerf_reversal_ros.building.view_descriptors import SHORTLIST, ViewIndex
from nerf_reversal_ros.core.parallel import one_blas_thread
from nerf_reversal_ros.localization.matching import make_query
from nerf_reversal_ros.maps.building_folder import Building, open_building

MB = 1e6
FAISS_LISTS, FAISS_PROBES, FAISS_VIEWS = 1024, 32, 500
"""Cells of the inverted file, those that a search looks into, and views that it returns."""
FAISS_TRAINING_VIEWS = 65_536
"""Views, at most, that the cells are found from."""

Array = NDArray[np.float32]
Search = Callable[[Array], list[int]]
"""Returns the rooms of the views most similar to a vector (D,), best first."""


class TestImage(NamedTuple):
    """What the ranking sees of an image."""

    room: str
    """That the camera was in."""
    descriptors: Array
    """(n, 128) of its keypoints."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    add_walk_arguments(parser)
    parser.add_argument('--rooms', default='1,2,4,8', help='numbers of real rooms, besides all')
    parser.add_argument('--made', default='1000,10000', help='numbers of made rooms')
    parser.add_argument('--every', type=int, default=10, help='rank every N-th image')
    add_out_argument(parser)
    args = parser.parse_args()
    building = open_building(args.building)
    images = list(test_images(open_walks(building, args), args.every))
    counts = [int(text) for text in args.rooms.split(',')]
    tables = [rank_real_rooms(building, images, [*counts, len(building.rooms)])]
    index = ViewIndex.load(building.views_file)
    tables.append(search_made_rooms(index, images, [int(n) for n in args.made.split(',')]))
    if args.flat:
        tables.append(costs(building, json.loads(args.flat[0].read_text(encoding='utf-8'))))
    write_results(args.out, 'The number of rooms', *tables)


def test_images(walks: Sequence[Walk], every: int) -> Iterator[TestImage]:
    """Yield the keypoints of the images of walks."""
    for walk in walks:
        for index in range(0, len(walk.capture), every):
            query = make_query(walk.capture.frame(index).rgb, walk.capture.camera)
            yield TestImage(walk.rooms[index], query.keypoints.descriptors)


def rank_real_rooms(building: Building, images: list[TestImage], counts: list[int]) -> ResultTable:
    """Return the table of the first rooms of a building, ranked for the images taken in them."""
    table = ResultTable(
        'Ranking real rooms',
        (
            Column('rooms'),
            Column('views'),
            Column('index', 'MB', 1),
            Column('index built in', 's', 1),
            Column('images'),
            Column('another room first'),
            Column('room not among the first five'),
            Column('time of an image', 'ms', 1),
        ),
    )
    for count in counts:
        names = list(building.rooms)[:count]
        start = time.perf_counter()
        index = ViewIndex.build({name: building.rooms[name].open() for name in names})
        built_s = time.perf_counter() - start
        shown = [image for image in images if image.room in names]
        index.rank(shown[0].descriptors)  # scales the landmarks, once
        ranks, times_ms = [], []
        for image in shown:
            start = time.perf_counter()
            scores = index.rank(image.descriptors)
            times_ms.append(1000 * (time.perf_counter() - start))
            ranks.append([score.name for score in scores].index(image.room))
        wrong, missed = (sum(rank >= first for rank in ranks) for first in (1, 5))
        size = index.nbytes / MB
        row = count, len(index.vectors), size, built_s, len(shown), wrong, missed
        table.add_row(*row, float(np.median(times_ms)))
    return table


def search_made_rooms(index: ViewIndex, images: list[TestImage], counts: list[int]) -> ResultTable:
    """Return the table of the searches among the real rooms and some made ones."""
    table = ResultTable(
        'Searching the most similar views',
        (
            Column('rooms'),
            Column('views'),
            'search',
            Column('memory', 'MB'),
            Column('built in', 's', 1),
            Column('time of an image', 'ms', 1),
            Column(f'room among the first {SHORTLIST}', '%', 1),
            Column('found of the exact search', '%', 1),
        ),
    )
    queries = [index.describe(image.descriptors) for image in images]
    numbers = [index.names.index(image.room) for image in images]
    for count in (len(index.names), *counts):
        vectors, rooms = add_made_rooms(index, count, np.random.default_rng(0))
        exact, exact_ms = timed(exact_search(vectors, rooms), queries)
        in_exact = share_found(exact, [[number] for number in numbers])
        row = count, len(vectors), 'exact', vectors.nbytes / MB, None, exact_ms, in_exact, None
        table.add_row(*row)
        if importlib.util.find_spec('faiss') is None or len(vectors) < FAISS_TRAINING_VIEWS:
            continue
        start = time.perf_counter()
        search, nbytes = faiss_search(vectors, rooms)
        built_s = time.perf_counter() - start
        found, found_ms = timed(search, queries)
        in_found = share_found(found, [[number] for number in numbers])
        agreeing = share_found(found, exact)
        row = count, len(vectors), 'faiss-cpu', nbytes / MB, built_s, found_ms, in_found, agreeing
        table.add_row(*row)
    return table


def add_made_rooms(
    index: ViewIndex, count: int, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int32]]:
    """
    Return the views of the real rooms, and of made ones up to a number of rooms in all.

    Returns
    -------
    (N, D) array, (N,) array
        Vectors of unit length, and the number of the room of each, ascending.
    """
    real = [index.vectors[index.rooms == number] for number in range(len(index.names))]
    sources = [number % len(real) for number in range(count)]
    total = sum(len(real[source]) for source in sources)
    vectors = np.empty((total, index.vectors.shape[1]), np.float32)
    rooms = np.empty(total, np.int32)
    row = 0
    for number, source in enumerate(sources):
        signs = np.ones(vectors.shape[1], np.float32)
        if number >= len(real):
            signs[1:] = rng.choice(np.float32([-1, 1]), len(signs) - 1)
        end = row + len(real[source])
        vectors[row:end], rooms[row:end] = real[source] * signs, number
        row = end
    return vectors, rooms


def exact_search(vectors: Array, rooms: NDArray[np.int32]) -> Search:
    """Return the search by one product, as `ViewIndex.rank` has it."""
    bounds = np.flatnonzero(np.diff(rooms, prepend=-1))

    def search(query: Array) -> list[int]:
        best = np.maximum.reduceat(vectors @ query, bounds)
        return [int(rooms[bounds[i]]) for i in np.argsort(-best, kind='stable')[:SHORTLIST]]

    return search


def faiss_search(vectors: Array, rooms: NDArray[np.int32]) -> tuple[Search, int]:
    """Return the search by an inverted file with 8 bit a number, and its size [bytes]."""
    import faiss

    width = vectors.shape[1]
    faiss.omp_set_num_threads(1)
    quantizer = faiss.IndexFlatIP(width)
    inverted = faiss.IndexIVFScalarQuantizer(
        quantizer, width, FAISS_LISTS, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    inverted.train(vectors[:: -(-len(vectors) // FAISS_TRAINING_VIEWS)])
    inverted.add(vectors)
    inverted.nprobe = FAISS_PROBES

    def search(query: Array) -> list[int]:
        _, rows = inverted.search(query[None], FAISS_VIEWS)
        found = dict.fromkeys(int(rooms[row]) for row in rows[0] if row >= 0)
        return list(found)[:SHORTLIST]

    return search, len(vectors) * (width + 8) + FAISS_LISTS * width * 4  # with a number each


@one_blas_thread()
def timed(search: Search, queries: list[Array]) -> tuple[list[list[int]], float]:
    """Return the rooms found for each vector, and the median time of a search [ms]."""
    found, times_ms = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(search(query))
        times_ms.append(1000 * (time.perf_counter() - start))
    return found, float(np.median(times_ms))


def share_found(found: list[list[int]], wanted: list[list[int]]) -> float:
    """Return how many of the wanted rooms were found, over all images [%]."""
    hits = sum(len({*rooms} & {*these}) for rooms, these in zip(found, wanted, strict=True))
    return 100 * hits / sum(len(these) for these in wanted)


def costs(building: Building, truth: dict[str, Any]) -> ResultTable:
    """Return the table of size and time of the build of each room whose area is known."""
    table = ResultTable(
        'What a room costs',
        (
            'room',
            Column('floor', 'm2', 1),
            Column('map', 'MB', 1),
            Column('build', 'min', 1),
            Column('map, a square meter', 'MB', 2),
            Column('build, a square meter', 'min', 2),
        ),
    )
    rows = []
    for name in building.rooms:
        if name in truth['rooms']:
            manifest = building.rooms[name].open().manifest
            block = truth['rooms'][name]
            sides = np.subtract(block['high_m'], block['low_m'])
            size = sum(entry['bytes'] for entry in manifest['files'].values()) / MB
            minutes = sum(manifest['built']['seconds'].values()) / 60
            rows.append((float(sides[0] * sides[1]), size, minutes))
            table.add_row(name, *rows[-1], *(value / rows[-1][0] for value in rows[-1][1:]))
    area, size, minutes = (sum(column) for column in zip(*rows, strict=True))
    table.add_row('all', area, size, minutes, size / area, minutes / area)
    return table


if __name__ == '__main__':
    main()
