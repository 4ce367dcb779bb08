"""Networks that read patches of the picture without an encoder."""

from typing import Any

from checkpoints import text_settings
from more_checkpoints import number
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from architectures.base import Made, architecture, from_question, tf

PATCH, LINE = "|SPEAKER|", "|NEWLINE|"


def letters_behind_a_blank() -> Any:
    """A tokenizer of letters that puts a blank first, also before the tokens of a picture, which
    Fuyu's processor takes away again.
    """
    marks = ["<pad>", "<s>", "</s>", PATCH, LINE, *(f"<0x0{number}>" for number in range(5))]
    known = [*marks, "<unk>", "▁", *map(chr, range(33, 127))]
    inner = Tokenizer(models.WordLevel({token: n for n, token in enumerate(known)}, "<unk>"))
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    pieces = Regex(r"\|SPEAKER\||\|NEWLINE\||<0x0\d>|.")
    inner.pre_tokenizer = pre_tokenizers.Split(pieces, "isolated")
    inner.decoder = decoders.Sequence(
        [decoders.Fuse(), decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)]
    )
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


@architecture("fuyu", call=from_question)
def fuyu() -> Made:
    words = letters_behind_a_blank()
    text = {"model_type": "persimmon", **text_settings(len(words)), "max_position_embeddings": 512}
    config = tf.FuyuConfig(
        text_config=text, patch_size=8, num_channels=3, image_token_id=number(words, PATCH)
    )
    sizes = {"size": {"height": 64, "width": 96}, "patch_size": {"height": 8, "width": 8}}
    return tf.FuyuForCausalLM(config), tf.FuyuProcessor(tf.FuyuImageProcessor(**sizes), words)
