"""Quicker ways through known networks, each compared with the network itself."""
