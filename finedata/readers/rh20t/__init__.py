"""RH20T: folders of scenes, with streams that have clocks of their own."""
