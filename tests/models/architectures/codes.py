"""Networks that turn a picture into tokens of a code book."""

from checkpoints import SMALL, chat, text_settings
from more_checkpoints import SQUARE, number, pieces

from architectures.base import Made, architecture, tf

CODES = 16


@architecture("chameleon")
def chameleon() -> Made:
    # Its code book is named in the letters A to J, for the digits of a code.
    codes = ["IMGIMG" + "".join("ABCDEFGHIJ"[int(d)] for d in str(n)) + "Z" for n in range(CODES)]
    words = pieces(
        *codes,
        image_token="<image>",
        boi_token="<racm3:break>",
        eoi_token="<eoss>",
        sep_token="<reserved08706>",
    )
    book = {
        "embed_dim": 8,
        "num_embeddings": CODES,
        "latent_channels": 8,
        "resolution": 32,
        "base_channels": 32,
        "channel_multiplier": [1, 1, 1, 1],
        "num_res_blocks": 1,
    }
    config = tf.ChameleonConfig(
        **text_settings(len(words)), vq_config=book, vocabulary_map=words.get_vocab()
    )
    pictures = tf.ChameleonImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor = tf.ChameleonProcessor(pictures, words, image_seq_length=16)
    return tf.ChameleonForConditionalGeneration(config), processor


@architecture("emu3")
def emu3() -> Made:
    codes = [f"<|visual token {n:06d}|>" for n in range(CODES)]
    words = pieces(
        *codes,
        "<|extra_200|>",
        image_token="<image>",
        boi_token="<|image start|>",
        eoi_token="<|image end|>",
        image_wrapper_token="<|image token|>",
        eof_token="<|extra_201|>",
    )
    book = {
        "codebook_size": CODES,
        "embed_dim": 4,
        "latent_channels": 4,
        "base_channels": 32,
        "channel_multiplier": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "hidden_size": 32,
        "temporal_downsample_factor": 2,
    }
    text = text_settings(len(words), pad_token_id=0, bos_token_id=1, eos_token_id=2)
    config = tf.Emu3Config(text_config=text, vq_config=book, vocabulary_map=words.get_vocab())
    pictures = tf.Emu3ImageProcessor(min_pixels=32 * 32, max_pixels=32 * 64)
    processor = tf.Emu3Processor(pictures, words, chat_template=chat("<image>"))
    return tf.Emu3ForConditionalGeneration(config), processor


@architecture("ovis2")
def ovis2() -> Made:
    marks = ["<IMG_ATOM>", "<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]
    words = pieces("<image>", *marks)
    vision = {
        **SMALL,
        "image_size": 32,
        "patch_size": 8,
        "vocab_size": 32,
        "hidden_stride": 2,
        "num_visual_indicator_tokens": 5,
    }
    config = tf.Ovis2Config(
        vision_config=vision,
        text_config=tf.Qwen2Config(**text_settings(len(words))).to_dict(),
        image_token_id=number(words, "<IMG_ATOM>"),
        visual_indicator_token_ids=[number(words, mark) for mark in marks[1:]],
        vocab_size=len(words),
        hidden_size=32,
    )
    pictures = tf.Ovis2ImageProcessor(**SQUARE, crop_to_patches=True, max_patches=4)
    processor = tf.Ovis2Processor(
        pictures, words, image_seq_length=4, chat_template=chat("<image>")
    )
    return tf.Ovis2ForConditionalGeneration(config), processor


@architecture("apertus1p5")
def apertus1p5() -> Made:
    codes = [f"<|visual token {n:06d}|>" for n in range(CODES)]
    sounds = [f"<|sound {n}|>" for n in range(CODES)]
    words = pieces(
        *codes,
        *sounds,
        image_token="<image>",
        audio_token="<audio>",
        boi_token="<|img_start|>",
        eoi_token="<|img_end|>",
        image_wrapper_token="<|img_token_start|>",
        eol_token="<|img_end_of_row|>",
        boa_token="<|audio_start|>",
        eoa_token="<|audio_end|>",
    )
    book = {
        "codebook_size": CODES,
        "embed_dim": 8,
        "latent_channels": 8,
        "base_channels": 32,
        "channel_multiplier": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "resolution": 32,
    }
    config = tf.Apertus1p5Config(
        # Its audio codes, 4096 of them, are the last of the vocabulary.
        text_config=text_settings(len(words) + 4096, pad_token_id=0),
        vision_config=book,
        image_token_id=number(words, "<image>"),
        audio_token_id=number(words, "<audio>"),
        image_token_offset=number(words, codes[0]),
        audio_token_offset=number(words, sounds[0]),
    )
    processor = tf.Apertus1p5Processor(
        tf.Apertus1p5ImageProcessor(
            size={"min_pixels": 32 * 32, "max_pixels": 32 * 64}, spatial_factor=8
        ),
        tf.WavTokenizerFeatureExtractor(),
        words,
        chat_template=chat("<image>"),
    )
    return tf.Apertus1p5ForConditionalGeneration(config), processor
