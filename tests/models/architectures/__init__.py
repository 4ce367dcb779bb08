"""Tiny random checkpoints of the architectures that transformers lists under image-text-to-text."""
