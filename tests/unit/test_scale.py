"""docs/scale.md says on paper what the code's own constants come to."""

from pathlib import Path

import pytest

from benchmarks import paper

TEXT = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()


@pytest.mark.parametrize(
    "row",
    [
        *paper.lines(paper.rest()),
        *paper.lines(paper.rush()),
        *paper.lines(paper.metadata()),
        *paper.lines(paper.traefik()),
    ],
)
def test_a_row_on_paper_stands_in_the_page(row: str) -> None:
    # what was measured stands behind it
    assert any(line.startswith(row) for line in TEXT.splitlines())


def test_the_shares_of_all_tasks_are_no_more_than_a_machine_allows() -> None:
    [*_, most] = paper.metadata()

    assert float(most.most.removesuffix("/s")) <= paper.LIMIT
