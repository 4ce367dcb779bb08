"""Cooperative games: estimators of values and interactions of players. Pure numpy; no model."""
