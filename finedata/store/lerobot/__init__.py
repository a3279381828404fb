"""LeRobot v3.0 on disk: its paths, its files, its statistics, written and read.

Layout and names: huggingface/lerobot, `docs/source/lerobot-dataset-v3.mdx` and
`src/lerobot/datasets/utils.py` (0.4.4).
"""
