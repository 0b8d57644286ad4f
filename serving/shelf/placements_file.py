"""The placements in force: those of a file, reread when it changes, or the built-in pages."""

import contextlib
from pathlib import Path

from serving.shelf.placements import Pages, PlacementsError, built_in, read_placements


class PlacementsFile:
    """The pages of the shop. A file that breaks later changes nothing; it is told until it is mended."""

    def __init__(self, path: Path | None) -> None:
        """Read the file. One that cannot be read leaves the built-in pages until it is mended."""
        self._path = path
        self._file_state: tuple[int, int, int] | None = None  # time of change, size, inode
        self._trouble: PlacementsError | None = None
        self.pages: Pages = built_in()
        with contextlib.suppress(PlacementsError):  # a worker that starts beside others does not end
            self.refresh()

    def refresh(self) -> None:
        """Reread the file if it changed. Raises PlacementsError while it is not valid, and keeps the pages it had."""
        if self._path is None:
            return
        try:
            stat = self._path.stat()
        except OSError as error:
            self._file_state = None
            raise PlacementsError(f"{self._path} cannot be read ({error.strerror}); put it back") from error
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if state != self._file_state:
            self._file_state, self._trouble = state, None
            try:
                self.pages = read_placements(self._path)
            except PlacementsError as error:
                self._trouble = error
        if self._trouble is not None:
            raise self._trouble
