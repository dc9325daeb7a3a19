"""Find the files that a recording names, also after its folder was moved or copied."""

from pathlib import Path, PureWindowsPath

from nerf_reversal_ros.bags.image_decoding import IMAGE_SUFFIXES
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.files import is_within


class FileFinder:
    """
    Finds the files of one recording by the paths that it names.

    Parameters
    ----------
    folder : Path
        Folder that relative paths start from, and that files must lie in.
    trust_paths : bool
        Also read files outside of ``folder``.
    """

    def __init__(self, folder: Path, trust_paths: bool = False) -> None:
        self._folder, self._trust_paths = folder, trust_paths
        self.moved: set[Path] = set()
        """Files found below ``folder`` and not at the path that was named."""

    def find(self, name: str, *, is_image: bool = False) -> Path | None:
        """
        Return the path of a file, or None if there is no such file.

        A file that is not at its path is looked for below the folder by the last parts of the
        path: by the name alone for an image, else with a folder, because depth and masks often
        have the names of their images. An image may be named without its suffix.

        Raises
        ------
        CaptureError
            If the file exists outside of the folder, and paths are not trusted.
        """
        suffixes = (*IMAGE_SUFFIXES, *map(str.upper, IMAGE_SUFFIXES)) if is_image else ()
        for candidate in (name, *(name + suffix for suffix in suffixes)):
            if (path := self._find_candidate(candidate, 1 if is_image else 2)) is not None:
                return path
        return None

    def expected_path(self, name: str) -> Path:
        """Return a path below the folder at which a missing file would be found."""
        path = self._folder / name
        if is_within(path, self._folder):
            return path
        parts = [part for part in PureWindowsPath(name).parts if part not in ('..', '.')]
        return self._folder.joinpath(*parts[-2:])

    def _find_candidate(self, name: str, min_parts: int) -> Path | None:
        path = self._folder / name
        if not _is_file(path):  # a backslash is a letter of a name here, on Windows it is not
            path = self._folder / name.replace('\\', '/')
        is_file = _is_file(path)
        if is_file and (self._trust_paths or is_within(path, self._folder)):
            return path
        # Windows paths split at both separators, and have drives.
        parts = [part for part in PureWindowsPath(name).parts if part not in ('..', '.')]
        for start in range(len(parts) - min_parts + 1):
            moved = self._folder.joinpath(*parts[start:])
            if _is_file(moved) and is_within(moved, self._folder):
                self.moved.add(moved)
                return moved
        if is_file:
            raise CaptureError(
                f'{path} leads outside of {self._folder}: do not trust it, or copy the file into'
                f' the folder, or {remedies.TRUST_PATHS}'
            )
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long or holds a zero byte
        return False
