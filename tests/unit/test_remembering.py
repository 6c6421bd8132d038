"""What is asked again is not worked out again; what is not asked any more is forgotten."""

from registry.remembering import remembered


def test_what_was_asked_lately_is_remembered_and_nothing_else() -> None:
    worked_out: list[tuple[int, int]] = []

    @remembered
    def add(one: int, other: int) -> list[int]:
        worked_out.append((one, other))
        return [one + other]

    first = add(1, 2)
    assert first == [3]
    assert add(1, 2) is first
    add.turn()
    assert add(1, 2) is first
    add(3, 4)
    add.turn()
    add(1, 2)
    add.turn()
    add.turn()
    assert worked_out == [(1, 2), (3, 4)]

    assert add(3, 4) == [7]
    assert worked_out == [(1, 2), (3, 4), (3, 4)]
    assert add(1, 2) is not first
