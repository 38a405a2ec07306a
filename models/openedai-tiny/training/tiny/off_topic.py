"""Questions that the model cannot answer, and its honest "I do not know"."""

# Word lists are kept as one string each: that reads better than a column of words.
from __future__ import annotations

import random

from tiny.example import Example, pair
from tiny.grammar import expand
from tiny.lexicon import ANIMALS, NAMES, THINGS, made_up_word
from tiny.noise import noisy

UNKNOWN = (
    "Sorry, I do not know that. I am a tiny demonstration model; load a bigger model with --model.",
    "I am a tiny demonstration model, and I do not know about that. A bigger model can help you.",
)

_OFF_TOPIC = (
    (
        "(explain|describe|define|tell me about|what is|what's|what are|talk about|write about|"
        "write an essay about|give me facts about) (|the |a )<topic>(?|.|)"
    ),
    (
        "(what is|tell me|do you know) the (history|price|population|area|height|theory|origin|"
        "weight|age|speed|chemistry|recipe|future|meaning) of <topic>(?|)"
    ),
    (
        "(who|when did someone|why did they) (invented|discovered|wrote|painted|won|built|sang|"
        "founded|killed) (the |a |)<topic>(?|)"
    ),
    (
        "(how|why) (do|does|did|can|is|are) (I |you |we |it |the |)(cook|build|repair|grow|"
        "prove|buy|play|draw|measure|fly|paint|sell|clean|learn|solve) <topic>(?|)"
    ),
    (
        "(write|give me|make|create) (a program|code|a function|a script|an app|a query|a plan|"
        "a letter|an email|a song|a recipe|a lesson) (for|about|with|to my|that shows) "
        "<topic>(.|)"
    ),
    "(who|where|when) (is|was|are|were) (the |)<topic>(?|)",
    ("(is|are|was|can|should|will|does) <topic> (good|bad|true|real|expensive|dangerous|legal|safe|work|old|new)(?|)"),
    (
        "(summarize|summarise|analyse|compare|review|fix|check|improve|classify|rate) (this|my|"
        "the|that) <topic>(: <rest>|)"
    ),
    "(solve|integrate|factor|calculate|compute|derive) <topic>(.|)",
    ("(which|what) <topic> (should I buy|is the best|do you like|is bigger|came first|won|wins|costs more)(?|)"),
    "(What is|what is|Tell me|what's) the capital of <made>(?|)",
    (
        "(Translate|translate|How do you say|How do I say) (<rest>|the word <made>|<topic>) (to|"
        "into|in) (French|German|Spanish|Italian|Japanese|Chinese|Russian|English)(?|.|)"
    ),
    "<rest>",
)
_TOPICS = (
    "quantum physics|black holes|the French revolution|photosynthesis|blockchain|climate change|"
    "world war two|Shakespeare|Napoleon|Einstein|the stock market|chess|football|the world cup|"
    "philosophy|Kant|Python decorators|Rust|JavaScript|SQL joins|binary trees|neural networks|"
    "transformers|gravity|DNA|cancer|vitamin C|taxes|mortgages|insurance|marriage|the moon landing|"
    "pyramids|dinosaurs|volcanoes|the Roman Empire|jazz|Beethoven|Mozart|impressionism|"
    "sushi|pizza dough|"
    "sourdough|wine|yoga|marathons|economics|inflation|democracy|the president|the king|the pope|"
    "electric cars|batteries|lasers|rockets|Mars|Saturn|the sun|oceans|penguins|whales|bees|"
    "mathematics|calculus|prime numbers|the Pythagorean theorem|pi|x squared|a triangle|an "
    "integral|"
    "religion|Buddhism|the Bible|love|happiness|time travel|consciousness|dreams|memory|sleep"
).split("|")


def topic(rng: random.Random) -> str:
    """Something the model knows nothing about, real or made up."""
    draw = rng.random()
    if draw < 0.45:
        return rng.choice(_TOPICS)
    if draw < 0.85:
        count = rng.choice([1, 1, 2, 3])
        words = " ".join(made_up_word(rng) for _ in range(count))
        return words.title() if rng.random() < 0.3 else words
    return rng.choice([rng.choice(THINGS) + "s", rng.choice(ANIMALS) + "s", rng.choice(NAMES)])


def unknown(rng: random.Random) -> Example:
    """An off-topic question and the honest answer."""
    made = made_up_word(rng, 2).capitalize()
    rest = " ".join(made_up_word(rng) for _ in range(rng.randint(2, 14)))
    ask = expand(rng, rng.choice(_OFF_TOPIC), {"topic": topic(rng), "rest": rest, "made": made})
    if rng.random() < 0.6:
        ask = ask[:1].upper() + ask[1:]
    return pair("unknown", noisy(rng, ask), rng.choice(UNKNOWN), ("tiny demonstration model",))


def pasted(rng: random.Random) -> Example:
    """A long pasted text (up to some 300 words), to which there is no clever reply."""
    words = [made_up_word(rng) for _ in range(rng.randint(1, 40))]
    count = rng.randint(20, 300)
    if rng.random() < 0.5:
        text = " ".join(rng.choice(words) for _ in range(count))
    else:
        text = " ".join((words * count)[:count])
    answer = "That is a long text. I am a tiny demonstration model and cannot make much of it."
    return pair("pasted", text, answer, ("tiny demonstration model",))
