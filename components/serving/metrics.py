"""What Prometheus may ask of the service; names begin with `perennial_`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """One registry a service: two in one process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        to = self.registry
        self.requests = Counter("perennial_requests", "Requests by path and status.", ["path", "status"], registry=to)
        self.answers = Counter(
            "perennial_answers",
            "Answers by generation, verdict and reason.",
            ["generation", "verdict", "reason"],
            registry=to,
        )
        self.faces = Counter("perennial_faces", "Faces that were asked about.", registry=to)
        self.seconds = Histogram("perennial_answer_seconds", "From a file to its answer.", buckets=SECONDS, registry=to)
        self.probability = Histogram(
            "perennial_forged_probability", "Of answers.", buckets=[number / 10 for number in range(1, 11)], registry=to
        )
        self.at_work = Gauge("perennial_requests_at_work", "Requests that are being answered.", registry=to)
        self.jobs = Gauge("perennial_jobs", "Jobs by state.", ["state"], registry=to)
        self.batches = Gauge("perennial_device_batches", "Batches the champion computed.", registry=to)
        self.batched_faces = Gauge("perennial_device_faces", "Faces the champion computed in batches.", registry=to)
        self.replaced = Gauge("perennial_workers_replaced", "Processes that read files and were replaced.", registry=to)
        self.swaps = Gauge("perennial_champion_swaps", "Times another champion took over.", registry=to)
        self.champion = Gauge("perennial_champion", "1 of the generation that answers.", ["generation"], registry=to)
        self.population = Gauge(
            "perennial_population",
            "What was asked of late, beside what the champion was calibrated on.",
            ["number"],
            registry=to,
        )
        self.population_faults = Counter(
            "perennial_population_faults", "Looks at what was asked that failed.", registry=to
        )
        self.shadow = Counter(
            "perennial_shadow", "Answers of the challenger, by whether it agrees.", ["agrees"], registry=to
        )

    def told(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)
