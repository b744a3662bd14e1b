#!/usr/bin/env python
"""Trains and evaluates a config; KEY VALUE pairs at the end override its keys."""

from mask2former_mt.engine.main import launch_training

if __name__ == "__main__":
    launch_training()
