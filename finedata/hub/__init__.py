"""Publishing to the Hugging Face Hub: what goes up, in which order, and the card that tells of it.

Reading back lies lower (`store.remote`), so that every verb can take an address.
"""
