"""A metered API: two millionths of a dollar for each token that a language model writes.

    python examples/metered.py

A caller signs for the most that an answer can cost, is told what it did cost, and is charged that:
`PerUnit` in the prices, and the line with ``use`` in the handler. A prompt that the model can make
nothing of costs nothing. The tokens in the answers are compared with what was charged for them.

The model is a real one, and very small: it knows which word came after which in the README.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Annotated

from fastapi import Body, FastAPI, HTTPException, Request

from farthing.paywall import PerUnit, Price, payment_of
from farthing.testing import Payer, playground

UNIT = "0.000002"
MOST = 4000
PRICES = {"POST /v1/complete": Price(PerUnit(UNIT, most=MOST))}
PROMPTS = ("The publisher", "What a payer", "Xyzzy", "If the contract", "A voucher")

app = FastAPI()


class Model:
    """Words, and the words that came after them."""

    def __init__(self, text: str) -> None:
        self._after: defaultdict[str, list[str]] = defaultdict(list)
        for word, following in pairwise(text.split()):
            self._after[word].append(following)

    def write(self, prompt: str) -> Iterator[str]:
        """Goes on after a prompt's last word to the end of a sentence; the same every time."""
        chance = Random(prompt)  # noqa: S311
        *_, word = ["", *prompt.split()]
        while not word.endswith(".") and word in self._after:
            word = chance.choice(self._after[word])
            yield word


model = Model((Path(__file__).parents[1] / "README.md").read_text("utf-8"))


@app.post("/v1/complete")
async def complete(
    prompt: Annotated[str, Body(embed=True, max_length=10_000)], request: Request
) -> dict[str, str | int]:
    """Costs the tokens it wrote."""
    tokens = list(islice(model.write(prompt), MOST))
    if not tokens:
        # An answer of 400 and above is not charged.
        raise HTTPException(422, "nothing comes after that")
    payment_of(request.scope).use(len(tokens))
    return {"text": " ".join(tokens), "tokens": len(tokens)}


def ask(payer: Payer, url: str, prompt: str) -> int:
    """The tokens that a prompt was answered with."""
    answer = payer.http.post(f"{url}/v1/complete", json={"prompt": prompt})
    told = answer.json()
    if answer.is_error:
        print(f"{prompt}: {answer.status_code}, {told['detail']}")
        return 0
    print(f"{prompt} {told['text']}")
    return int(told["tokens"])


def main() -> None:
    with playground() as play:
        site = play.publish(app, PRICES)
        unit = play.units(UNIT)
        for caller in (play.payer(), play.payer()):
            for prompt in PROMPTS:
                before = caller.spent()
                tokens = ask(caller, site.url, prompt)
                charged = caller.spent() - before
                assert charged == tokens * unit
                most = play.show(MOST * unit)
                print(f"  {tokens} tokens: {play.show(charged)} of at most {most}")
        print(play.prove())


if __name__ == "__main__":
    main()
