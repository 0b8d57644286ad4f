"""What landing an answer's exposures takes: bytes under `landing/exposures`, and processor time of the lander.

    python -m tests.bench lander

Answers of 20 items, of random shoppers with filters and exploration, in blocks of 250 as at 1,000 answers a second.
Beside it the older form, a row an item without compression, by the same lander.
"""

import secrets
import tempfile
import time
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from jobs.publishing.publish import publish
from serving.logs.exposures import Shown, spool_line
from serving.logs.file_log import FileLog
from serving.logs.lander import Lander, LinesByFile, Transaction
from serving.shelf.encoded_parts import EncodedParts
from serving.shelf.fill import fill_shelf
from serving.shelf.item_state import LiveItems
from serving.shelf.request import ShelfRequest
from serving.shelf.snapshot import Snapshot
from serving.snapshot.experiments import UNASSIGNED
from serving.stores import open_store
from tests.bench.bench_endpoint import popular_night
from tests.bench.figures import Figure
from tests.bench.shop import user_id
from tests.serving.logs.row_an_item import rows_of_items

USERS, ITEMS, ANSWERS, BLOCK, LIMIT, ROUNDS = 20_000, 50_000, 5_000, 250, 20, 3
BEGAN_S = 1_769_860_800.0  # 2026-01-31T12:00:00Z
_SHOWN = msgspec.json.Decoder(Shown)


def blocks() -> list[bytes]:
    """The spool's lines of all answers, a block each."""
    with tempfile.TemporaryDirectory() as folder, closing(open_store(f"lmdb://{folder}/store")) as store:
        night = popular_night(USERS, ITEMS)
        publish(night, store)
        snapshot = Snapshot(store.open(night.version))
        live, parts, rng = LiveItems(snapshot), EncodedParts(snapshot), np.random.default_rng(1)
        prices_of_items = rng.integers(200, 49_700, ITEMS).tolist()
        ids = night.items["item_id"].to_pylist()
        lines = []
        for number in range(ANSWERS):
            request = ShelfRequest(
                user_id=user_id(int(rng.integers(USERS))), limit=LIMIT, category="home", price_min_minor=200,
                price_max_minor=49_700, page="homepage", device="mobile", location="top",
            )  # fmt: skip
            key = secrets.token_bytes(16)
            filled = fill_shelf(snapshot, live, request, request_key=key)
            shown = [
                {"item_id": ids[position], "score": round(score, 4), "reason": "Picked for your taste"}
                for position, score in zip(filled.positions, filled.scores, strict=True)
            ]
            body = msgspec.json.encode({"recommendations": shown, "request_id": key.hex()})
            prices = [prices_of_items[position] for position in filled.positions]
            lines.append(spool_line(body, BEGAN_S + number / 1000, request, filled, parts, prices, UNASSIGNED))
        snapshot.close()
    return [b"".join(lines[begin : begin + BLOCK]) for begin in range(0, ANSWERS, BLOCK)]


class OlderLander(Lander):
    """Lands the older form."""

    def _split(self, name: str, block: bytes, txn: Transaction) -> LinesByFile:
        if name != "exposures":
            return super()._split(name, block, txn)
        rows = [rows_of_items(_SHOWN.decode(line)) for line in block.splitlines()]
        return {"exposures/ds=2026-01-31/12-host.jsonl": rows}


def landed(spooled: list[bytes], lands: type[Lander]) -> tuple[float, int]:
    """Land blocks one by one; return the seconds of processor, and the bytes that landed."""
    spent = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spool = FileLog(folder / "spool", "exposures", sync=False)
        lander = lands(folder / "landing", spool, FileLog(folder / "state", "events"), folder / "state")
        for block in spooled:
            spool.append(block)
            began = time.process_time()
            lander.step()
            spent += time.process_time() - began
        lander.close()
        return spent, sum(path.stat().st_size for path in folder.glob("landing/exposures/ds=*/*"))


def main() -> list[Figure]:
    """Land the answers in both forms, in turns; of the times the shortest counts."""
    spooled, now, before = blocks(), [], []
    for _ in range(ROUNDS):
        before.append(landed(spooled, OlderLander))
        now.append(landed(spooled, Lander))
    (cpu_s, size), (cpu_before_s, size_before) = min(now), min(before)
    floor_is = "the same lander with a row an item, not compressed"
    return [
        Figure("landed an answer", size / ANSWERS, "B", size_before / ANSWERS, floor_is, "under 500"),
        Figure("processor an answer", cpu_s / ANSWERS * 1e6, "µs", cpu_before_s / ANSWERS * 1e6, floor_is, "less"),
    ]
