"""ViLT for question answering: one encoder over words and patches, answers from a closed set.

transformers' own forward selects the patches by `torch.multinomial`, so that their order is random
and the global random state moves. The adapter builds the patch tokens itself in raster order and
passes them as `image_embeds`: the scores are the same (attention does not see the order, positions
are added before), every position of every layer belongs to a known patch, nothing is drawn, and a
coalition can leave patches out of the sequence.
"""

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import ViltForQuestionAnswering, ViltProcessor

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example, read_image
from vqa_explain.features.base import Feature, Present, present_elements
from vqa_explain.features.image import (
    BLANKS,
    FILLS,
    ImageFeature,
    Picture,
    baseline,
    blank,
    fill_in,
)
from vqa_explain.features.regions import of_cells
from vqa_explain.features.text import Text
from vqa_explain.models.attending import Attention, Positions
from vqa_explain.models.base import Leaves, described, own_labels
from vqa_explain.models.encoded import Encoded, read_inputs
from vqa_explain.models.fast.fused import hooked
from vqa_explain.models.fast.vilt_readout import answer_scores, as_built, chosen_scores
from vqa_explain.models.network import parameters_frozen
from vqa_explain.models.outputs import kind_of_outputs
from vqa_explain.models.sharing import holds_network
from vqa_explain.models.transformer import to_front
from vqa_explain.models.transforms import picture_reader, read_patches
from vqa_explain.models.unwrapping import placed
from vqa_explain.models.wording import all_absent, read_question, stand_in, text_feature


@holds_network
class ViltModel:
    """Adapter of `transformers.ViltForQuestionAnswering`; see `models.base.Model`."""

    family = "vilt"
    capabilities = frozenset({"gradients", "pixels", "drop", "attention", "flow"})

    __repr__ = described

    def __init__(
        self,
        module: ViltForQuestionAnswering,
        processor: ViltProcessor,
        name: str,
        device: torch.device,
        outputs: str | None = None,
    ) -> None:
        self.name = name
        self.device = device
        self.module = placed(module, device, name)
        self.processor = processor
        self._pictures = picture_reader(processor.image_processor, name)
        self.labels = own_labels(module)
        self.kind = kind_of_outputs(outputs, module.config, module.config.num_labels, name)
        self._embeddings = self.module.vilt.embeddings
        text = text_feature(processor.tokenizer, "delete")
        # "drop" costs half, but a patch of the mean color keeps more answers: see README, defaults.
        self.features: tuple[Feature, ...] = (ImageFeature(fills=("drop", *FILLS)), text)

    def encode(self, example: Example) -> Encoded:
        limit = self.module.config.max_position_embeddings
        ids, tokens, words = read_question(
            self.processor.tokenizer, example.question, limit, self.name
        )
        picture = read_image(example.image)
        self._check_size(picture)
        patch = self.module.config.patch_size
        pixels, geometry, grid = read_patches(self._pictures, picture, patch)
        pixels = pixels.to(self.device)
        image = Picture(picture, pixels, geometry, grid)
        text = Text(str(example.question), ids.to(self.device), tokens, words)
        return Encoded(example, read_inputs(self.features, image, text), self.labels)

    def _check_size(self, picture: np.ndarray) -> None:
        """Refuses a picture that the processor would shrink to less than a patch."""
        patch = self.module.config.patch_size
        steps = self.processor.image_processor
        long, short = max(picture.shape[:2]), min(picture.shape[:2])
        side = steps.size["shortest_edge"]
        # The processor caps the long side at 1333 / 800 of the short one, and rounds both down to
        # whole patches.
        if side * min(1.0, 1333 / 800 * short / long) < steps.size_divisor:
            raise InvalidInput(
                f"the image of {picture.shape[1]} × {picture.shape[0]} pixels is too long and "
                f"thin: its short side would be under one patch of {patch} pixels; crop it"
            )

    def plain_scores(self, encoded: Encoded) -> Tensor:
        picture, question = Image.fromarray(encoded.picture), encoded.example.question
        inputs = self.processor(images=picture, text=question, return_tensors="pt").to(self.device)
        with torch.random.fork_rng(devices=[]):  # it draws the order of its patches
            result: Tensor = self.module(**inputs).logits
            return result

    def leaves(self, encoded: Encoded) -> Leaves:
        words = self._embeddings.text_embeddings.word_embeddings(encoded.ids)
        return {"image": encoded.pixels.clone(), "question": words.detach()}

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        # Dropping and deleting have no value that a leaf could take: the nearest are blur and the
        # pad embedding.
        ids = all_absent(
            encoded.ids, encoded.tokens, stand_in(self.processor.tokenizer, fills["question"])
        )
        words = self._embeddings.text_embeddings.word_embeddings(ids).detach()
        image = baseline(encoded.pixels, encoded.geometry, fills["image"], seed)
        return {"image": image, "question": words}

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        patches = self._patches(leaves["image"])
        text = leaves["question"]
        heard = torch.ones(text.shape[:2], dtype=torch.long, device=self.device)
        seen = torch.ones(patches.shape[:2], dtype=torch.long, device=self.device)
        return self._answer(text, heard, patches, seen)

    def widest(self, encoded: Encoded) -> int:
        config = self.module.config
        states = len(encoded.tokens) + 1 + encoded.grid[0] * encoded.grid[1]
        of_one = max(
            config.intermediate_size, config.hidden_size, config.num_attention_heads * states
        )
        result: int = states * of_one * self._embeddings.cls_token.element_size()
        return result

    def attention(self, encoded: Encoded) -> Attention:
        leaves = self.leaves(encoded)
        patches = self._patches(leaves["image"].requires_grad_(True))
        seen = torch.ones(patches.shape[:2], dtype=torch.long, device=self.device)
        with parameters_frozen(self.module), torch.enable_grad():
            found = self.module(
                inputs_embeds=leaves["question"],
                image_embeds=patches,
                pixel_mask=seen,
                output_attentions=True,
            )
        return Attention(scores=found.logits, maps=found.attentions, readout=(0,))

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        words = len(encoded.tokens)  # then the image's own first token, then its patches
        if length != words + 1 + encoded.grid[0] * encoded.grid[1]:
            raise InvalidInput(
                f"a layer of {length} states does not hold one per token and patch; choose another"
            )
        cells = words + 1 + np.arange(encoded.grid[0] * encoded.grid[1])
        return Positions({"question": np.arange(words), "image": cells})

    def default_layer(self, encoded: Encoded) -> str:
        # The answer is read from the first token of the last layer, so patches matter only up to
        # the one before.
        return f"vilt.encoder.layer.{max(0, len(self.module.vilt.encoder.layer) - 2)}"

    def _answer(self, text: Tensor, heard: Tensor, patches: Tensor, seen: Tensor) -> Tensor:
        """Answer logits (B, K), by the quick way where nobody looks inside."""
        if not torch.is_grad_enabled() and self._is_quick():
            return answer_scores(self.module, text, heard, patches, seen)
        return self.plain_answer(text, heard, patches, seen)

    def _is_quick(self) -> bool:
        """Whether the quick way gives what the network gives: nobody looks inside,
        and no layer is replaced.
        """
        return not hooked(self.module) and as_built(self.module)

    def plain_answer(self, text: Tensor, heard: Tensor, patches: Tensor, seen: Tensor) -> Tensor:
        """Answer logits (B, K) by `transformers`' own forward;
        the arguments are those of `answer_scores`.
        """
        with parameters_frozen(self.module):
            result: Tensor = self.module(
                inputs_embeds=text, attention_mask=heard, image_embeds=patches, pixel_mask=seen
            ).logits
            return result

    def _patches(self, pixels: Tensor) -> Tensor:
        """Image tokens (B, 1 + patches, D) in raster order behind the image's own first token."""
        embeddings, config = self._embeddings, self.module.config
        with parameters_frozen(self.module):
            x = embeddings.patch_embeddings(pixels)
            side = config.image_size // config.patch_size
            places = (
                embeddings.position_embeddings[:, 1:].transpose(1, 2).unflatten(2, (side, side))
            )
            if x.shape[2:] != places.shape[2:]:
                places = F.interpolate(
                    places, size=x.shape[2:], mode="bilinear", align_corners=True
                )
            x = (x + places).flatten(2).transpose(1, 2)
            first = embeddings.cls_token + embeddings.position_embeddings[:, :1]
            return torch.cat([first.expand(len(x), -1, -1), x], dim=1)

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        shown, said = present["image"], present["question"].elements
        blanks = self._there_and_gone(encoded, shown, fills["image"], seed)
        if blanks is not None and fills["question"] == "mask" and self._is_quick():
            both, seen = blanks
            text, _ = self._hear(
                encoded, torch.stack([torch.ones_like(said[0]), torch.zeros_like(said[0])]), "mask"
            )
            return chosen_scores(self.module, text, both, torch.cat([said, seen], dim=1))
        text, heard = self._hear(encoded, said, fills["question"])
        if fills["image"] == "drop":
            patches, kept = self._drop(encoded, shown)
            return self._answer(text, heard, patches, kept)
        if blanks is None:
            patches = self._patches(fill_in(encoded.pixels, shown.elements, fills["image"], seed))
        else:
            both, seen = blanks
            patches = torch.where(seen[:, :, None], both[0], both[1])
        every = torch.ones(patches.shape[:2], dtype=torch.long, device=self.device)
        return self._answer(text, heard, patches, every)

    def _there_and_gone(
        self, encoded: Encoded, shown: Present, fill: str, seed: int
    ) -> tuple[Tensor, Tensor] | None:
        """Image tokens (2, 1 + patches, D) of all regions there and of all blank, and which are
        there (N, 1 + patches).

        None where a patch can be neither: where regions divide patches, or the fill depends on what
            is about it.
        """
        whole = of_cells(shown.division, encoded.grid) if fill in BLANKS else None
        if whole is None:
            return None
        both = self._patches(torch.cat([encoded.pixels, blank(encoded.pixels, fill, seed)]))
        present = present_elements(shown.players, whole.ravel())
        return both, torch.cat([torch.ones_like(present[:, :1]), present], dim=1)

    def _hear(self, encoded: Encoded, said: Tensor, fill: str) -> tuple[Tensor, Tensor]:
        """Word embeddings (N, T, D) and attention (N, T) with only the tokens of `said` (N,
        T) present.
        """
        ids = encoded.ids.expand(len(said), -1)
        heard = torch.ones_like(ids)
        if fill == "mask":
            ids = torch.where(said, ids, stand_in(self.processor.tokenizer, fill))
        elif fill == "pad":
            heard = said.long()
        else:
            kept = to_front(said)
            ids, heard = ids.gather(1, kept), said.gather(1, kept).long()
        return self._embeddings.text_embeddings.word_embeddings(ids), heard

    def _drop(self, encoded: Encoded, shown: Present) -> tuple[Tensor, Tensor]:
        """Image tokens (N, 1 + most kept, D) of the present patches in raster order,
        and which are no filler.
        """
        patch = self.module.config.patch_size
        cells = shown.division.owner[::patch, ::patch].ravel()
        present = present_elements(shown.players, cells)
        tokens = self._patches(encoded.pixels)[0]
        kept = to_front(present)
        patches = torch.cat([tokens[:1].expand(len(shown), 1, -1), tokens[1:][kept]], dim=1)
        seen = torch.cat([torch.ones_like(present[:, :1]), present.gather(1, kept)], dim=1)
        return patches, seen.long()
