"""Questions and answers for pictures, and an endpoint that gives them."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

import scripted
from scripted.steps import Step

#: The names of its models.
MODELS: Final = ("example-large", "example-small")

TIDES: Final = """## Why the sea rises twice a day

The **Moon** pulls harder on the near side of the Earth than on its centre, and less on the far \
side. So the water stands high on *both* sides at once, and the Earth turns below.

| | Moon | Sun |
| --- | ---: | ---: |
| mass, kg | 7.35 × 10²² | 1.99 × 10³⁰ |
| distance, km | 384,400 | 149,600,000 |
| tidal pull | 1 | 0.46 |

A little model of it:

```python
def tide(hours: float, height: float = 1.0) -> float:
    \"\"\"Water level above the mean, in metres.\"\"\"
    period = 12.42  # hours, half a lunar day
    return height * math.cos(2 * math.pi * hours / period)
```

1. New and full Moon: both pull in a line, and the tides are highest.
2. Half Moon: they pull crosswise, and the tides are lowest.
"""
THOUGHT: Final = (
    "They ask for a ten-year-old, so no formula at first. Two bulges is what surprises everybody: "
    "why is there one on the far side, too? Because the centre of the Earth is pulled away from "
    "that water. A merry-go-round might help, but it is misleading; better a stretched balloon. "
    "Then why the times move by fifty minutes every day: the Moon has walked on meanwhile. "
)
LIGHTHOUSE: Final = (
    "The keeper counted ships the way other people count sheep. Forty-one on a good night, none "
    "in fog, and once, in the winter of the long ice, a single one that came back three times.\n\n"
    "On the third night it stood so close that she could read the name on its bow. It was her "
    "own. She put out the lamp, which no keeper may do, and lit it again, which every keeper "
    "must, and the ship turned slowly, like somebody who has been waved at, and went home.\n\n"
    "She wrote *42* in the book and underlined it twice.\n"
)
LINES: Final = (
    "The rain runs sideways on the glass,\\\na second landscape, quick and thin.\\\n"
    "The fields, the poles, the stations pass;\\\nthe lamps come on, the night comes in.\n\n"
    "A child has fallen half asleep\\\nand counts the drops that race and"
)
BEAMS: Final = """A lighthouse is a lamp, a lens, a clock and a promise. In that order.

## The lamp

For two thousand years it was fire: wood, then coal, then whale oil, then paraffin. Each was \
brighter than the one before, and each needed somebody awake beside it. Today a lamp no bigger \
than a fist does what a bonfire could not, because of what stands around it.

## The lens

In 1822 Augustin Fresnel cut a lens into rings. A plain lens of that strength would have been as \
thick as a wall and would have swallowed most of the light; his rings keep only the slopes that \
bend it, and leave out the glass between them. The beam is gathered from nearly every direction \
and sent to the horizon as a flat sheet.

"""
BEAMS_LATER: Final = """## How far it shines

Two things end it: the haze, and the curve of the Earth. The second one is geometry. From a height \
of $h$ metres the horizon is about

$$ d \\approx 3.57 \\sqrt{h} \\ \\text{km} $$

away, so a lamp at 40 m is seen from the water at 23 km, and from a bridge 16 m high at 37 km.

## Why each one blinks differently

A steady light could be a house. So every lighthouse has its own rhythm, and the chart says which:

| on the chart | means |
| --- | --- |
| Fl(2) 10s | two flashes every ten seconds |
| Oc 6s | light, with one dark moment every six |
| Iso 4s | two seconds light, two dark |

## Who still needs them

Fewer ships than before, and every one whose satellite receiver has just gone dark. That is the \
promise: it is there when the other thing is not.
"""
PACKING: Final = """Less than you think, and nothing with wheels: a boat has no room for a suitcase.

- **Against the wet:** a jacket and trousers that are really tight, and boots with a light sole.
- **Against the cold:** two thin layers of wool, a cap, gloves. It is always colder out there.
- **Against the sun:** it comes from above and from the water. Glasses, on a string.
- **For the night:** a head torch with a red light, and a sleeping bag.

Put everything into one soft bag"""
NIGHT: Final = """Because the universe is young, and because it grows. The simple question has a \
name, Olbers' paradox, and a surprising answer.

## The puzzle

If space were endless, eternal and evenly full of stars, every line of sight would end on a star \
sooner or later, as in a deep forest every line of sight ends on a tree. A shell of stars twice as \
far away is four times as faint, star by star, but it holds four times as many stars. Each shell \
would add the same light, and the whole sky would shine like the Sun.

## What it is not

- **Not dust.** It would have grown as hot as the stars, and would shine itself.
- **Not distance alone.** The shells make up for it, as above.

## What it is

1. *Light needs time.* The universe is 13.8 billion years old, so we see only the stars whose \
light has reached us. The forest has an edge: not in space, but in time.
2. *Space grows.* What comes from far away is stretched, out of the colours that we see and into \
the infrared.

And the sky is not quite dark. In every direction there is a glow from the first 380,000 years, \
stretched a thousandfold into microwaves. If our eyes could see it, the night would be bright.
"""
NIGHT_READ: Final = NIGHT.index("## What it is not")
BREAD: Final = """You need flour, water, salt and a weekend. Nothing in it is difficult; most of \
it is waiting.

## Friday evening: the starter

Stir **50 g** of active starter into 100 g of flour and 100 g of water. Cover it and go to bed. It \
is ready when it has doubled and a spoonful of it floats.

## Saturday, ten o'clock: the dough

| | grams | share |
| --- | ---: | ---: |
| strong flour | 500 | 100 % |
| water | 350 | 70 % |
| starter | 100 | 20 % |
| salt | 10 | 2 % |

Mix flour and water first and leave them alone for half an hour. Then work in the starter and the \
salt with wet hands.

## Until three: four folds

Every half hour pull one side up and lay it over the other, all around. After the fourth time the \
dough holds together and does not want to be touched any more.

"""
BREAD_LATER: Final = """## Saturday night: the cold

Shape it, lay it into a floured basket and put it into the fridge. The cold slows the yeast more \
than the bacteria: that is where the taste comes from.

## Sunday, eight o'clock: the oven

As hot as it goes, with a lidded pot inside, for a whole hour. Cut the loaf, bake it for 20 \
minutes with the lid on and 25 without. It is done when it sounds hollow from below.
"""

WHY_TIDES: Final = "Why does the sea rise twice a day?"
TEN_YEARS_OLD: Final = "Explain tides to a ten-year-old"
STORY: Final = "Tell me a very short story about a lighthouse."
HOW_BEAMS: Final = "How does a lighthouse work?"
WHAT_TO_PACK: Final = "What should I pack for a week of sailing?"
WHY_NIGHT: Final = "Why is the night sky dark?"
HOW_BREAD: Final = "How do I bake my first sourdough bread?"
MINUTES: Final = "Summarise the minutes of the harbour board"
POEM: Final = "Write a poem about a train in the rain"
#: Questions of earlier, for the list of conversations.
EARLIER: Final = (
    MINUTES,
    "Translate the pilot's letter",
    "Plan a quiet weekend by the sea",
    POEM,
    "Names for a small grey boat",
)


def _said(*steps: Step) -> str:
    plain = scripted.expected(scripted.script(*steps, scripted.done()))
    tokens = scripted.usage(prompt=18, completion=len(plain.reasoning + plain.text) // 4)
    return scripted.script(*steps, scripted.finish(), tokens, scripted.done())


def answers() -> dict[str, str]:
    """The script of each question's answer."""
    half = TIDES.index("    period")
    found = {
        WHY_TIDES: _said(
            scripted.say(TIDES[:half], rate=2500), scripted.hold("code"), scripted.say(TIDES[half:])
        ),
        TEN_YEARS_OLD: _said(
            scripted.reasoning(THOUGHT, rate=900), scripted.hold("thought"), scripted.say(TIDES)
        ),
        STORY: _said(
            scripted.say(LIGHTHOUSE[:150], rate=10),
            scripted.hold("story-1"),
            scripted.say(LIGHTHOUSE[150:330], rate=500),
            scripted.hold("story-2"),
            scripted.say(LIGHTHOUSE[330:], rate=2000),
        ),
        HOW_BEAMS: _said(
            scripted.say(BEAMS, rate=75), scripted.hold("beams"), scripted.say(BEAMS_LATER)
        ),
        WHAT_TO_PACK: _said(
            scripted.say(PACKING, rate=900), scripted.hold("packing"), scripted.say(".")
        ),
        WHY_NIGHT: _said(
            scripted.hold("night"),
            scripted.say(NIGHT[:NIGHT_READ], rate=60),
            scripted.hold("night-2"),
            scripted.say(NIGHT[NIGHT_READ:], rate=25),
        ),
        HOW_BREAD: _said(
            scripted.say(BREAD, rate=900), scripted.hold("bread"), scripted.say(BREAD_LATER)
        ),
        MINUTES: scripted.script(
            scripted.say("The board met on Tuesday. It agreed on three things:\n\n"),
            scripted.say("1. The north pier is closed until May, for its timbers.\n"),
            scripted.say("2. Fishing boats pay no fee in February.\n3. The harbour lamp"),
            scripted.cut(),
        ),
        POEM: _said(scripted.say(LINES, rate=900), scripted.hold("poem"), scripted.say(".")),
    }
    found[EARLIER[1]] = _said(scripted.hold("letter"), scripted.say("Dear Sir,"))
    found[EARLIER[2]] = _said(scripted.say(LIGHTHOUSE))
    found[EARLIER[4]] = _said(scripted.say("Heron. Pebble. Slow Answer."))
    return found


@contextmanager
def prompter(target: str) -> Iterator[str]:
    """An endpoint that replaces each question by the script of its answer; its URL."""
    known, where = answers(), urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            last = asked["messages"][-1]
            last["content"] = known.get(last["content"], last["content"])
            upstream = http.client.HTTPConnection(where.hostname or "", where.port or 80)
            upstream.request(
                "POST", self.path, json.dumps(asked), {"Content-Type": "application/json"}
            )
            answer = upstream.getresponse()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            try:
                while data := answer.read1(65536):
                    self.wfile.write(data)
            except (OSError, http.client.HTTPException):
                self.close_connection = True

        def do_GET(self) -> None:
            data = json.dumps({"object": "list", "data": [{"id": one} for one in MODELS]})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(data.encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
