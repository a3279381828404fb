"""The closed loop: scenes, experts and demonstrations in a simulator, judged by its physics."""
