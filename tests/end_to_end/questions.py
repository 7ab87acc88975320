"""Questions for the browser's tests, with their scripted answers."""

import scripted


def lengthy(characters: int, tag: str, rate: float | None = 300) -> str:
    """A question whose answer is long and slow."""
    steps = (scripted.long(characters, rate=rate), scripted.finish(), scripted.usage())
    return scripted.script(*steps, scripted.done(), tag=tag)


def gated(before: str, gate: str, after: str) -> str:
    """A question whose answer waits at a gate in the middle."""
    steps = (scripted.say(before), scripted.hold(gate), scripted.say(after))
    return scripted.script(*steps, scripted.finish(), scripted.usage(), scripted.done())


def quick(text: str, tag: str = "") -> str:
    """A question whose answer comes at once."""
    return scripted.script(scripted.say(text), scripted.finish(), scripted.done(), tag=tag)


def answer_text(question: str) -> str:
    """The text of the answer to a question."""
    return scripted.expected(question).text
