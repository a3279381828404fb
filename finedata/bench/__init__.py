"""RoboFine-Bench and benchmarks cut from one's own data: questions, answers, scores that hold.

Two modes stand side by side. `released` is the arithmetic of the benchmark's published scorer, its
holes included, so that numbers can be compared with published ones. `strict` closes the holes: what
was asked decides what is counted, never what came back.
"""
