"""Stage publish: the page of a line, one HTML file that needs nothing else, and its numbers for DVC.

    python -m components.reports.publish VERDICTS SCORES GENERATIONS FACES EXAMINATION PAGE METRICS PLOTS
        --last NAME [--beside LINE,LINE]

Same files, same bytes: no date, no random id. Nothing is fetched; the page works from a folder, offline.
"""

from __future__ import annotations

from pathlib import Path

from components import stage
from components.reports import mistakes, numbers, sections
from components.reports.pages import write_page
from components.reports.story import read_story

EACH = 4  # faces shown of either kind of mistake


def publish(
    verdicts: Path,
    scores: Path,
    generations: Path,
    faces: Path,
    examination: Path,
    page: Path,
    metrics: Path,
    plots: Path,
    *,
    last: str,
    beside: str = "",
) -> None:
    """Write the page of the line that ends with generation `last`.

    verdicts, scores, generations, faces   the folders with all of them, by name
    examination                            the line's last examination; nobody's is empty
    page                                   output: index.html
    metrics                                output: a JSON file, for `dvc metrics`
    plots                                  output: folders of CSV files, for `dvc plots`
    last                                   the youngest generation of the line
    beside                                 other lines, separated by commas: linked as ../LINE/index.html
    """
    story = read_story(verdicts, scores, generations, last, examined=examination)
    examined = [name for name in story.benchmarks if (scores / last / f"{name}.parquet").is_file()]
    alarms, misses = mistakes.most_wrong(generations / last, scores / last, faces, examined, each=EACH)
    others = [name for name in beside.split(",") if name]
    write_page(page, "line.html", **sections.line(story, others, alarms, misses))
    numbers.write(story, metrics, plots)


if __name__ == "__main__":
    stage.run(publish, brief=True)
