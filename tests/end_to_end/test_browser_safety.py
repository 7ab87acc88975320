"""The page's security, size and accessibility."""

import re

import pytest
from playwright.sync_api import Page, expect

import scripted
from local.programs import Web
from tests.end_to_end import axe
from tests.end_to_end.browser import Meet, Tab, text_of
from tests.end_to_end.questions import answer_text, gated, quick
from tests.rig import Rig

pytestmark = pytest.mark.usefixtures("worker")

#: Bytes of everything that the first page loads, as sent.
FIRST_PAGE = 80_000

RUN = "window.ran=(window.ran||0)+1"
#: Answers that made other pages run or load something.
HOSTILE = (
    f"<script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f"<svg onload={RUN}><circle r=9></svg>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    "<iframe src=//example.invalid></iframe>",
    "<link rel=stylesheet href=//example.invalid/x.css><style>@import '//example.invalid'</style>",
    "<base href=//example.invalid><meta http-equiv=refresh content='0;url=//example.invalid'>",
    f"<math><mtext></p><style><img src=x onerror={RUN}></style></mtext></math>",
    f"<details open ontoggle={RUN}><summary>x</summary></details>",
    f"<form><input name=innerHTML autofocus onfocus={RUN}></form>",
    f"<a id=thread name=thread href='javascript:{RUN}'>clobber</a>",
    f"[a](javascript:{RUN}) [b](JaVaScRiPt:{RUN}) [c](data:text/html,<script>{RUN}</script>)",
    f"[d](&#106;avascript:{RUN}) [e](\\x6aavascript:{RUN}) [f](vbscript:x) [g](file:///etc/passwd)",
    f"<javascript:{RUN}> <data:text/html,x> [h](//example.invalid/x) [i]: javascript:{RUN}",
    "![beacon](https://example.invalid/beacon.png) ![b](//example.invalid/b.png 'x')",
    f"[x](https://example.org/'onmouseover='{RUN} \"onclick='{RUN}'\")",
    f'```"><script>{RUN}</script>\n</code></pre><script>{RUN}</script>\n```',
    f"```html onload={RUN}\n<img src=x onerror={RUN}>\n```",
    f"| <img src=x onerror={RUN}> | <script>{RUN}</script> |\n| --- | --- |\n| </table> | x |",
    f"$$</div><img src=x onerror={RUN}>$$ and $</span><svg onload={RUN}>$",
    f"# <b onclick={RUN}>x</b>\n\n> <img src=x onerror={RUN}>\n\n- </ul></p>",
    "</div></article></main><template><slot></template><plaintext>",
    "<!-- <img title='--><img src=x onerror=window.ran=1>'> <![CDATA[ <x> ]]> <?php ?>",
    "\u202e<\u0000script>\u2028</script\u0000> &lt;script&gt;&#60;script&#62;",
)


#: Attributes that could run something or lead elsewhere.
STRANGE_ATTRIBUTES = """() => [...document.querySelectorAll(".block *")]
  .flatMap(one => [...one.attributes])
  .filter(({name, value}) => /^on/.test(name)
    || (name === "href" && !/^(https?|mailto):/.test(value)))
  .map(({name, value}) => `${name}=${value}`)"""


def transferred(tab: Tab) -> int:
    """Bytes of everything that the page loaded, as sent."""
    sent = (
        "() => [...performance.getEntriesByType('navigation'),"
        " ...performance.getEntriesByType('resource')]"
        ".reduce((sum, one) => sum + one.encodedBodySize, 0)"
    )
    return int(tab.page.evaluate(sent))


def test_first_page_is_small_and_has_a_strict_policy(meet: Meet, web: Web) -> None:
    person = meet(web)
    tab = person.open()
    expect(tab.page.locator("#conversations")).to_have_attribute("aria-busy", "false")
    assert 20_000 < transferred(tab) < FIRST_PAGE
    answer = tab.page.goto(person.url)
    assert answer is not None
    policy = answer.headers["content-security-policy"]

    assert "unsafe" not in policy
    assert "*" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", answer.text())


@pytest.mark.parametrize("chunk", [1, (2, 11)])
def test_hostile_answers_are_shown_as_text(tab: Tab, chunk: int | tuple[int, int]) -> None:
    step = scripted.say("\n\n".join(HOSTILE), chunk=chunk)
    question = scripted.script(step, scripted.finish(), scripted.done(), tag=str(chunk))

    assert tab.answer_to(question) == answer_text(question)
    _assert_harmless(tab)
    tab.page.reload()
    assert tab.finished() == answer_text(question)
    _assert_harmless(tab)


def _assert_harmless(tab: Tab) -> None:
    assert tab.page.evaluate("window.ran") is None
    strange = (
        "script, style, iframe, img, svg, link, base, meta, form, input, object, template,"
        " math:not(.math[data-tex] > math), maction, annotation-xml,"
        " [id], [name], [style],"
        " [src], [srcdoc]"
    )
    assert tab.page.locator(f".block :is({strange})").count() == 0
    assert tab.page.evaluate(STRANGE_ATTRIBUTES) == []


def test_question_is_shown_as_it_was_typed(tab: Tab) -> None:
    asked = "\n".join(HOSTILE).replace("\x00", "")
    tab.ask(asked)
    tab.finished()

    assert text_of(tab.questions) == asked
    assert tab.page.evaluate("window.ran") is None


# --- accessibility -------------------------------------------------------------------------------

RICH = (
    "# A title\n\nSome **bold** text, `code` and [a link](https://example.org).\n\n"
    "- one\n- two\n\n| a | b |\n| --- | ---: |\n| 1 | 2 |\n\n"
    "```python\nprint('hello')  # said\n```\n\n"
    "> A quotation, and $x^2$.\n\nשלום עולם\n"
)


def rich(tag: str) -> str:
    """A question whose answer has every kind of element."""
    steps = (scripted.reasoning("Let me think."), scripted.say(RICH), scripted.finish())
    return scripted.script(*steps, scripted.usage(), scripted.done(), tag=tag)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(meet: Meet, web: Web, scheme: str) -> None:
    tab = meet(web, color_scheme=scheme).open()
    expect(tab.page.locator("#empty")).to_be_visible()
    found = axe.serious(tab.page)

    tab.answer_to(rich(scheme))
    tab.page.locator("summary").click()
    tab.answer.locator(".spent").click()
    found += axe.serious(tab.page)
    tab.ask(scripted.script(scripted.say("Half"), scripted.cut(), tag=scheme))
    tab.finished("ERROR")
    tab.press("Instructions")
    found += axe.serious(tab.page)
    tab.page.keyboard.press("Escape")
    tab.page.set_viewport_size({"width": 390, "height": 844})
    tab.press("Conversations")
    found += axe.serious(tab.page)

    assert found == []


def test_keyboard_alone_is_enough_for_everything(rig: Rig, tab: Tab) -> None:
    page, keys = tab.page, tab.page.keyboard
    expect(page.locator("#question")).to_be_focused()  # the question has the focus at first
    keys.type("half a thou")
    keys.press("Control+A")
    keys.insert_text(gated("First. ", "keys", "Second."))
    keys.press("Enter")
    tab.written()
    keys.press("Tab")  # model, instructions, Stop
    _tab_to(page, "Stop")
    keys.press("Enter")
    tab.finished("CANCELLED")
    expect(page.locator("#question")).to_be_focused()

    rig.scripted.release("keys")
    _tab_to(page, "Retry", back=True)
    keys.press("Enter")
    assert tab.finished() == "First. Second."
    _tab_to(page, "Previous version", back=True)
    keys.press("Space")
    assert tab.finished("CANCELLED").startswith("First.")

    keys.press("Control+k")
    expect(page.locator("#search")).to_be_focused()
    keys.press("ArrowDown")
    _tab_to(page, re.compile("^Rename "))
    keys.press("Enter")
    keys.type("By keyboard")
    keys.press("Enter")
    expect(page.locator("h1")).to_have_text("By keyboard")
    _tab_to(page, "Delete By keyboard")
    keys.press("Enter")
    expect(page.locator("#empty")).to_be_visible()
    _tab_to(page, "Undo")
    keys.press("Enter")
    expect(page.locator("h1")).to_have_text("By keyboard")


def _tab_to(page: Page, name: str | re.Pattern[str], *, back: bool = False) -> None:
    """Press Tab until this has the focus; the focus must always be visible."""
    wanted = page.get_by_role("button", name=name, exact=isinstance(name, str))
    for _ in range(40):
        if wanted.evaluate_all("all => all.includes(document.activeElement)"):
            break
        page.keyboard.press("Shift+Tab" if back else "Tab")
    else:
        pytest.fail(f"{name} is out of the keyboard's reach")
    outline = "getComputedStyle(document.activeElement)"
    assert page.evaluate(f"{outline}.outlineStyle") != "none"
    assert page.evaluate(f"{outline}.opacity") == "1"


#: Records the page's announcements.
LISTEN = (
    "window.heard = []; new MutationObserver(all => all.forEach(({addedNodes}) =>"
    " addedNodes.forEach(one => window.heard.push(one.textContent))))"
    ".observe(document.getElementById('announce'), {childList: true})"
)


def test_screen_readers_get_sentences_and_the_state(tab: Tab) -> None:
    tab.page.evaluate(LISTEN)
    said = "One sentence is heard. And then another one! Is this the third? " * 4
    steps = (scripted.say(said, chunk=2, rate=200), scripted.finish(), scripted.done())

    tab.answer_to(scripted.script(*steps))
    expect(tab.page.locator("#announce p").last).to_contain_text("The answer is complete.")
    heard = tab.page.evaluate("window.heard")

    assert len(heard) < 12
    assert said.strip() in " ".join(heard)
    assert all(re.search(r"[.!?]$", one) for one in heard), heard


def test_screen_readers_get_only_new_text_after_a_reload(rig: Rig, tab: Tab) -> None:
    before = "One was heard.\n\nTwo was heard.\n\nThree has begun. It is "
    tab.ask(gated(before, "heard", "said now. And this.\n\nFour."))
    tab.written(len(before) - 1)
    tab.page.add_init_script(f"document.addEventListener('DOMContentLoaded', () => {{{LISTEN}}})")

    tab.page.reload()
    tab.written(len(before) - 1)
    rig.scripted.release("heard")

    tab.finished()
    expect(tab.page.locator("#announce p").last).to_contain_text("The answer is complete.")
    heard = " ".join(tab.page.evaluate("window.heard"))
    assert "was heard" not in heard
    assert "has begun" not in heard
    assert "It is said now. And this. Four." in heard


def test_reduced_motion_disables_all_animations(meet: Meet, web: Web) -> None:
    tab = meet(web, reduced_motion="reduce").open()
    tab.ask(gated("Still. ", "still", "Done."))
    tab.written()

    assert tab.page.evaluate("document.getAnimations().length") == 0
    tab.press("Stop")


def test_copying_long_code_includes_all_of_its_pieces(tab: Tab) -> None:
    code = "".join(f"line_{number} = {number}\n" for number in range(400))

    tab.answer_to(quick(f"Look:\n\n```python\n{code}```\n\nThat was it."))
    tab.answer.get_by_role("button", name="Copy the code").click()

    tab.page.wait_for_function("() => window.copied !== null")
    assert tab.page.evaluate("window.copied") == code
    expect(tab.answer.get_by_role("button", name="Copy the code")).to_have_count(1)


def test_wide_code_and_tables_scroll_by_keyboard_and_together(meet: Meet, web: Web) -> None:
    tab = meet(web, viewport={"width": 390, "height": 844}).open()
    row = "| " + " | ".join(["a_word_that_is_long"] * 9) + " |\n"
    code = "".join(f"line_{number} = {number * 'x'}\n" for number in range(120))
    tab.answer_to(quick(f"{row}{'| --- ' * 9}|\n{row}\n```python\n{code}```\n\nThat was it."))

    codes = tab.answer.locator("pre.code")
    assert codes.count() >= 3
    expect(tab.answer.locator("pre.code:not([tabindex='0'])")).to_have_count(0)
    expect(tab.answer.get_by_role("region", name="Table")).to_have_attribute("tabindex", "0")
    assert axe.serious(tab.page) == []
    codes.last.evaluate("code => code.scrollLeft = 300")
    tab.page.wait_for_function(
        "() => [...document.querySelectorAll('pre.code')].slice(1)"
        ".every(one => one.scrollLeft === 300)"
    )


def test_code_being_written_has_no_copy_button(rig: Rig, tab: Tab) -> None:
    tab.ask(gated("```python\nprint(1)\n", "button", "print(2)\n```\n"))
    tab.written()
    copy = tab.answer.locator(".copy-code")

    expect(copy).to_be_hidden()
    rig.scripted.release("button")

    tab.finished()
    expect(copy).to_be_visible()
