"""`GET /metrics`: the cells of all workers of the host, summed, in the text format of Prometheus."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from serving.api.metrics import BUCKETS, CELL_COUNT, COMPONENTS, COUNTERS, FIRST_HISTOGRAM, HISTOGRAM_CELLS, Metrics

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4.removesuffix("; charset=utf-8")  # Litestar adds that
_EDGES = (*(repr(2 ** (10 + bucket) / 1e9) for bucket in range(BUCKETS - 1)), "+Inf")  # seconds


class GaugeReading(NamedTuple):
    """A gauge's name, help text and value now."""

    name: str
    help: str
    value: float


def exposition(metrics: Metrics, gauges: Iterable[GaugeReading]) -> bytes:
    """The body of `/metrics`: all workers' counters and histograms, the given gauges, and how many workers live."""
    return generate_latest(_HostCollector(metrics, gauges))


class _HostCollector(Collector):
    def __init__(self, metrics: Metrics, gauges: Iterable[GaugeReading]) -> None:
        self._metrics, self._gauges = metrics, gauges

    def collect(self) -> Iterator[Metric]:
        totals, alive = [0] * CELL_COUNT, Counter[str]()
        for process in self._metrics.processes():
            alive[process.role] += process.alive
            totals = [total + cell for total, cell in zip(totals, process.cells, strict=True)]
        living = (
            GaugeReading("topshelf_workers", "Workers that are alive.", alive["worker"]),
            GaugeReading("topshelf_landers", "Landers that are alive: 1, or 0 while none is.", alive["lander"]),
        )
        yield from _counters(totals)
        yield _histogram(totals)
        for gauge in (*self._gauges, *living):
            yield GaugeMetricFamily(gauge.name, gauge.help, gauge.value)


def _counters(totals: Sequence[int]) -> Iterator[Metric]:
    cells = iter(totals)
    for counter in COUNTERS:
        family = CounterMetricFamily(counter.name, counter.help, labels=[counter.label] if counter.label else [])
        for value in counter.values:
            family.add_metric([value] if counter.label else [], next(cells))
        yield family


def _histogram(totals: Sequence[int]) -> Metric:
    text = "Time of an answer: of all the whole, of one in eight by component."
    family = HistogramMetricFamily("topshelf_seconds", text, labels=["component"])
    for number, component in enumerate(COMPONENTS):
        first = FIRST_HISTOGRAM + number * HISTOGRAM_CELLS
        buckets, count = [], 0
        for bucket, edge in enumerate(_EDGES):
            count += totals[first + bucket]
            buckets.append((edge, float(count)))
        family.add_metric([component], buckets, totals[first + BUCKETS] / 1e9)
    return family
