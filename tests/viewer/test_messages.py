"""Messages of a view are compared with their schema before anything is done."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqa_explain.errors import InvalidInput
from vqa_explain.viewer.messages import ACTIONS, LONGEST_TEXT, MOST_NUMBERS, number_of, read

sys.path.insert(0, str(Path(__file__).parent.parent / "hostile"))
from forging import MISSING, STRANGE, forged, places

MESSAGES: dict[str, dict[str, Any]] = {
    "method": {"method": "saliency", "parameters": {"steps": 8}},
    "target": {"target": 3, "contrast": None, "explanation": "key"},
    "columns": {"columns": [{"method": "saliency", "example": 3}]},
    "thumbnails": {"indices": [0, 3]},
    "fetch": {"filter": "all", "count": 12},
    "cancel": {"index": 4},
    "cancel all": {},
    "whatif": {"away": {"image": [0, 3]}, "serial": 7, "fills": {"image": "mean"}},
    "question": {"question": "Why?", "serial": 7},
    "explain question": {"question": "Why?", "explanation": "key"},
    "line": {"serial": "line 3"},
    "inside": {"serial": "inside 3"},
    "hello": {},
}
# Fields that may have several types, or be left out.
OPEN = {"parameters", "target", "contrast", "explanation", "serial", "method", "example", "fills"}


def test_every_action_has_a_case() -> None:
    assert MESSAGES.keys() == ACTIONS.keys()


@pytest.mark.parametrize("action", MESSAGES)
def test_a_field_of_another_type_is_refused(action: str) -> None:
    message = {"action": action, "number": 3, **MESSAGES[action]}
    assert isinstance(read(message), ACTIONS[action])
    for at in places(MESSAGES[action]):
        for strange in (*STRANGE, MISSING):
            was: Any = message
            for name in at:
                was = was[name]
            of_type = type(strange) is type(was) and strange not in (10**30, "\ud800")
            if OPEN & set(at) or of_type or (strange in ([], {}) and type(strange) is type(was)):
                continue
            if isinstance(was, list) and strange is MISSING and len(at) > 1:
                continue  # fewer inputs, or fewer numbers of one
            if at[-1] in ("image", 0) and strange is MISSING:
                continue
            with pytest.raises(InvalidInput, match="cannot read a message of its view"):
                read(forged(message, at, strange))


@pytest.mark.parametrize("number", [3.0, -2.0])
def test_whole_numbers_may_come_as_fractions(number: float) -> None:
    found: Any = read({"action": "whatif", "away": {"image": [number]}, "serial": number})
    assert (found.away, found.serial) == ({"image": [int(number)]}, int(number))
    assert type(found.away["image"][0]) is int


@pytest.mark.parametrize("number", [0.5, float("nan"), float("inf"), True, None, "3", [3]])
def test_what_is_no_whole_number(number: Any) -> None:
    with pytest.raises(InvalidInput, match=r"index is .*, not a whole number"):
        read({"action": "cancel", "index": number})
    assert number_of({"number": number}) == 0


LONG: dict[str, Any] = {
    "a question": {"action": "question", "question": "x" * (LONGEST_TEXT + 1), "serial": 1},
    "many numbers": {"action": "whatif", "away": {"image": [0] * (MOST_NUMBERS + 1)}, "serial": 1},
    "many inputs": {
        "action": "whatif",
        "away": {str(i): [] for i in range(MOST_NUMBERS + 1)},
        "serial": 1,
    },
    "a long parameter": {
        "action": "method",
        "method": "rise",
        "parameters": {"a": ["x" * (LONGEST_TEXT + 1)]},
    },
}


@pytest.mark.parametrize("kind", LONG)
def test_what_no_person_asks_is_too_long(kind: str) -> None:
    with pytest.raises(InvalidInput, match="has more than") as caught:
        read(LONG[kind])
    assert len(str(caught.value)) < 300


def read_or_refused(message: Any) -> tuple[Any, str]:
    """The message, or `None` and why it was refused."""
    try:
        return read(message), ""
    except InvalidInput as error:
        return None, str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([name for one in MESSAGES.values() for name in one] + ["x"])


@given(message=JSON | st.dictionaries(NAMES, JSON), action=JSON | st.sampled_from(list(MESSAGES)))
@settings(max_examples=100, deadline=None)
def test_any_message_is_read_or_refused(message: Any, action: Any) -> None:
    given_message = {**message, "action": action} if isinstance(message, dict) else message
    found, said = read_or_refused(given_message)
    assert found is None or isinstance(found, ACTIONS[action])
    assert len(said) < 500
    assert number_of(given_message) >= 0
