"""The example that the page on sharing tells."""

import doctest
import re
from pathlib import Path

from charging_agent.charging.sharing import LimitedBy

PAGE = Path(__file__).resolve().parents[5] / "docs" / "sharing.md"


def test_the_example_comes_to_what_the_page_says() -> None:
    examples = "\n".join(re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8")))
    test = doctest.DocTestParser().get_doctest(examples, {}, PAGE.name, str(PAGE), 0)
    said: list[str] = []

    doctest.DocTestRunner(verbose=False).run(test, out=said.append)

    assert len(test.examples) > 10
    assert "".join(said) == ""


def test_every_word_for_a_limit_is_explained() -> None:
    explained = set(re.findall(r"`([a-z_]+)`", PAGE.read_text(encoding="utf-8")))

    assert {str(word) for word in LimitedBy} - explained == set()
