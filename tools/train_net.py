#!/usr/bin/env python
"""Trains and evaluates: train_net.py --config-file FILE [--num-gpus N] [--resume] [--eval-only] KEY VALUE ..."""

from mask2former_mt.engine.main import launch_training

if __name__ == "__main__":
    launch_training()
