"""How the mark "not from the picture" fares on objects that are planted in captions.

    python benchmarks/planted.py --count 300          # about five minutes on one core

In each caption of the first test pictures of everyday, one object is replaced by a kind that is not
in the picture. The shipped model that writes captions is given the text as its answer.
"""

import argparse

import vqa_explain as vx
from vqa_explain.training.captions_card import flag, percent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="captions")
    parser.add_argument("--seed", type=int, default=0, help="of what is planted")
    asked = parser.parse_args()
    found = flag(vx.load("captions"), asked.count, asked.seed)
    print(f"of marked nouns, planted (precision): {percent(found.precision)} %")
    print(f"of planted nouns, marked (recall): {percent(found.recall)} %")
    print(f"of true nouns, not marked: {percent(found.spared)} %")


if __name__ == "__main__":
    main()
