#!/usr/bin/env python
"""Trains a config, or reuses what is trained, predicts on some pictures and prints the figures."""

import argparse

from mask2former_mt.engine.demo import run_demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--pictures", type=int, default=12, help="validation pictures to show")
    args = parser.parse_args()
    run_demo(args.config_file, args.pictures)


if __name__ == "__main__":
    main()
