"""Following a log while it cannot be read, and over lines that cannot be taken in."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from serving.logs.file_log import FileLog, FileReader
from serving.logs.follower import Follower
from serving.shelf.item_state import ItemState


class Failing(FileReader):
    """A reader that raises the faults it was given, one at each read."""

    faults: list[Exception]

    def read(self) -> bytes:
        if self.faults:
            raise self.faults.pop(0)
        return super().read()


def test_it_follows_again_after_any_failure_to_read(tmp_path: Path) -> None:
    log, taken = FileLog(tmp_path, "items"), list[bytes]()
    reader = Failing(log, (0, 0))
    reader.faults = [OSError(24, "Too many open files"), RuntimeError("nobody foresaw it"), MemoryError()]
    follower = Follower("item_state", "stays", reader, taken.extend)
    log.append(b"a\n")

    async def follow() -> None:
        following = asyncio.create_task(follower.run())
        while not taken:
            assert not following.done()
            await asyncio.sleep(0.01)
        following.cancel()

    asyncio.run(asyncio.wait_for(follow(), 20))
    assert taken == [b"a"]
    assert follower.task.take_failures() == 3
    assert follower.task.trouble is None


def test_a_line_that_cannot_be_taken_in_costs_no_other(tmp_path: Path) -> None:
    log, state = FileLog(tmp_path, "items"), ItemState()
    beyond = b'{"item_id":"b","ts":2,"price_minor":%d}' % 2**70  # no int64 holds it
    log.append(b'{"item_id":"a","ts":1,"stock":1}\n%b\n{"item_id":"c","ts":3,"stock":0}\n' % beyond)

    def take(lines: Sequence[bytes]) -> None:
        for line in lines:
            if line == beyond:
                raise OverflowError("a fault that nobody foresaw")
        state.take(lines)

    follower = Follower("item_state", "stays", log.reader(), take)
    asyncio.run(follower.attempt())
    assert state.newest_ts == 3
    assert follower.caught_up_at is not None
    assert (follower.task.trouble, follower.lines.take_failures()) == (None, 1)
