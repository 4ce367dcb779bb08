"""Chat templates that know roles, for checkpoints whose own do not."""

from typing import Any

# A template with roles, that takes contents as texts or as lists.
BODY = (
    "{% for m in messages %}{{ m['role'] | upper }}: "
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE"
    "{% elif c['type'] == 'video' %}VIDEO{% else %} {{ c['text'] }}{% endif %}{% endfor %}{% endif %}"
    "\n{% endfor %}ASSISTANT:"
)
QWEN = (
    "<|vision_start|><|image_pad|><|vision_end|>",
    "<|vision_start|><|video_pad|><|vision_end|>",
)
MARKS = {"llava": ("<image>", "<video>"), "qwen2_vl": QWEN, "qwen2_5_vl": QWEN}


def with_roles(model: Any, family: str) -> Any:
    """The model with such a template."""
    image, video = MARKS.get(family, ("<image>", "<video>"))
    model.processor.chat_template = BODY.replace("IMAGE", image).replace("VIDEO", video)
    return model
