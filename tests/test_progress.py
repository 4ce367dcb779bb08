"""What the shell tells of a run that is under way."""

import pytest

from vqa_explain.shell.progress import Lines, duration


def told(calls: list[tuple[int, int | None, int]], seconds: float = 1.0) -> list[str]:
    """The lines for these calls, one every so many seconds."""
    lines: list[str] = []
    now = iter(seconds * number for number in range(len(calls)))
    tell = Lines(lines.append, lambda: next(now))
    for call in calls:
        tell(*call)
    return lines


def test_a_run_of_known_length_says_what_is_left() -> None:
    lines = told([(done, 100, int(done > 50)) for done in range(101)])
    assert len(lines) == 20
    assert lines[0] == "5 of 100 examples, no errors, about 2 min left"
    assert lines[-2] == "95 of 100 examples, 1 with an error, about 5 s left"
    assert lines[-1] == "100 of 100 examples, 1 with an error"


def test_what_an_earlier_call_finished_says_nothing_of_the_speed() -> None:
    lines = told([(60, 100, 0), *((done, 100, 0) for done in range(61, 101))], 10.0)
    assert lines[0] == "60 of 100 examples are finished from before; going on with the others"
    assert lines[1] == "65 of 100 examples, no errors, about 6 min left"
    assert told([(100, 100, 0)]) == []


def test_a_run_of_unknown_length_says_how_much_is_done() -> None:
    lines = told([(done, None, 0) for done in range(45)])
    assert lines == ["20 of ? examples, no errors", "40 of ? examples, no errors"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (89, "89 s"), (100, "2 min"), (5000, "83 min"), (9000, "2.5 h")],
)
def test_times_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said
