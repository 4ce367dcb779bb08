"""The adapter of vision-language models that write their answer, and its parts."""
