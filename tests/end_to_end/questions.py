"""Questions whose scripted answers give a person at a browser something to see."""

import scripted


def lengthy(characters: int, tag: str, rate: float | None = 300) -> str:
    """A question whose answer takes its time."""
    steps = (scripted.long(characters, rate=rate), scripted.finish(), scripted.usage())
    return scripted.script(*steps, scripted.done(), tag=tag)


def gated(before: str, gate: str, after: str) -> str:
    """A question whose answer waits in the middle."""
    steps = (scripted.say(before), scripted.hold(gate), scripted.say(after))
    return scripted.script(*steps, scripted.finish(), scripted.usage(), scripted.done())


def quick(text: str, tag: str = "") -> str:
    """A question that is answered at once."""
    return scripted.script(scripted.say(text), scripted.finish(), scripted.done(), tag=tag)


def told(question: str) -> str:
    """What the answer to a question says."""
    return scripted.expected(question).text
