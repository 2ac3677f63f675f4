"""Build entry point: finds the packages; all metadata is in pyproject.toml."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["untrained_recon*", "gadgets*"]), "untrained_recon.preset_files"])
