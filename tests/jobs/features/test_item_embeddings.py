"""The vectors of a night: the newest of each item, all of one length."""

from collections.abc import Iterator
from datetime import date
from functools import partial

import pyarrow as pa
import pytest

from jobs.config.parameters import Parameters
from jobs.features import feature_tables
from jobs.features.item_embeddings import COLUMNS, ItemEmbeddings, newest_embeddings
from jobs.lake.lake import Lake
from jobs.models import content
from jobs.models.embedding_weight import UNJUDGED
from jobs.spark.engine import OnSpark
from jobs.staging.ingest import ingest
from jobs.training.windows import _copy_stale_days
from tests.conftest import Land

ITEMS = pa.array(["a", "b", "c"])
D1, D2, D3 = (date(2026, 1, n) for n in (1, 2, 3))


def day(**vectors: list[float] | None) -> pa.Table:
    schema = pa.schema([("item_id", pa.string()), ("embedding", pa.list_(pa.float32()))])
    return pa.Table.from_pylist([dict(zip(COLUMNS, row, strict=True)) for row in vectors.items()], schema)


def found(*newest_first: pa.Table) -> ItemEmbeddings:
    embeddings = newest_embeddings(newest_first, ITEMS)
    assert embeddings is not None
    return embeddings


def test_an_item_s_newest_vector_stands_and_a_later_row_without_one_takes_nothing_away() -> None:
    of = found(day(a=None, b=[5, 6]), day(a=[1, 2], b=[3, 4]))
    assert of.vectors.tolist() == [[1, 2], [5, 6], [0, 0]]
    assert of.facts() == {"embeddings": 2, "numbers_an_embedding": 2}


def test_the_length_of_most_items_counts_and_others_are_left_out_and_told() -> None:
    of = found(day(a=[1, 2, 3]), day(a=[9, 9], b=[3, 4], c=[5, 6]))
    assert of.vectors.tolist() == [[0, 0], [3, 4], [5, 6]]
    assert of.facts() == {"embeddings": 2, "numbers_an_embedding": 2, "embeddings_of_another_length": 1}


def test_a_new_model_counts_once_most_items_have_a_vector_of_it() -> None:
    assert found(day(a=[1, 2, 3], b=[1, 2, 3]), day(a=[9, 9], b=[3, 4], c=[5, 6])).length == 3


def test_of_lengths_that_equally_many_items_have_the_newest_counts_then_the_largest() -> None:
    assert found(day(a=[1]), day(a=[1, 2], b=[1, 2])).length == 1
    assert found(day(a=[1], b=[1, 2])).length == 2


def test_days_are_read_until_every_item_has_its_vector() -> None:
    def days() -> Iterator[pa.Table]:
        yield day(a=[1], b=[2], c=[3], stranger=[4])
        pytest.fail("a day more was read")

    assert found(*[next(days())]).vectors.tolist() == newest_embeddings(days(), ITEMS).vectors.tolist()  # type: ignore[union-attr]


def test_a_shop_without_vectors_or_without_products_has_none() -> None:
    assert newest_embeddings([day(a=None), day(stranger=[1])], ITEMS) is None
    assert newest_embeddings([day(a=[1])], ITEMS.slice(3)) is None


@pytest.fixture
def built(spark, lake: Lake, landing, land: Land):
    """Build features and content of a day from what has landed."""

    def build(ds: date) -> Lake:
        ingest(lake, str(landing), ds, Parameters())
        feature_tables.build_if_stale(lake, ds, Parameters())
        content.build(lake, ds, Parameters())
        return lake

    for ds in (D1, D2, D3):
        land("events", str(ds), "a.csv", f"user_id,item_id,event_type,ts\nu,mug,view,{ds}\n")
    return build


ROWS = "item_id,title,embedding\n{}"


@pytest.mark.usefixtures("nothing_compiled")
def test_a_night_reads_the_days_that_hold_vectors_and_builds_again_when_they_change(
    built, land: Land, lake: Lake, spark, tmp_path
) -> None:
    land("items", str(D1), "a.csv", ROWS.format('mug,Mug,"[1 0 0]"\ncup,Cup,"[0.9 0.1 0]"\npan,Pan,"[nan 1 1]"\n'))
    land("items", str(D2), "a.csv", "item_id,title,stock\nmug,Mug,3\n")
    built(D2)
    assert lake.manifest("staging/items", D1).metrics["with_embedding"] == 2
    assert "with_embedding" not in lake.manifest("staging/items", D2).metrics
    assert lake.manifest("features/item", D2).metrics == {"embedding_days": [str(D1)]}
    first = lake.manifest("artifacts/content", D2)
    told = ("embeddings", "numbers_an_embedding", "embedding_weight", "judged_on")
    assert [first.metrics[name] for name in told] == [2, 3, UNJUDGED, 0]
    assert f"features/user_item/ds={D2}" in first.inputs
    assert lake.array("artifacts/content", D2, "embedding_axes").shape == (3, 3)

    land("items", str(D1), "a.csv", ROWS.format('mug,Mug,"[1 0 0]"\ncup,Cup,"[0 1 0]"\npan,Pan,"[nan 1 1]"\n'))
    built(D2)
    assert lake.manifest("artifacts/content", D2).fingerprint != first.fingerprint

    rest = Lake(str(tmp_path / "rest"))
    engine = OnSpark(spark)
    _copy_stale_days(engine, lake, rest, "staging/items", D2, {}, partial(engine.stored, lake, "staging/items"))
    assert rest.manifest("staging/items", D1).metrics["with_embedding"] == 2


@pytest.mark.usefixtures("nothing_compiled")
def test_a_shop_without_vectors_says_nothing_of_them(built, land: Land, lake: Lake) -> None:
    land("items", str(D1), "a.csv", "item_id,title\nmug,Mug\ncup,Cup\n")
    built(D1)
    assert lake.manifest("features/item", D1).metrics == {}
    made = lake.manifest("artifacts/content", D1)
    assert sorted(made.files) == ["content_data.npy", "content_indices.npy", "content_indptr.npy", "item_vectors.npy"]
    assert sorted(made.metrics) == ["index_recall", "items", "neighbours"]
    assert list(made.inputs) == [f"features/item/ds={D1}"]
