"""Sharing finished adapters: push, pull, search, verify, through a folder, an S3 bucket or the Hugging Face Hub.

What is shared is the adapter folder byte for byte. Nothing from a hub is loaded before everything about it was checked.
Imports neither torch nor transformers; `foreign` and `export`, which run models, are imported where they are needed.
"""

from adaptx.hub.catalogue import info, listing, search
from adaptx.hub.download import Pulled, pull
from adaptx.hub.page import site
from adaptx.hub.removal import remove
from adaptx.hub.signing import Trust
from adaptx.hub.upload import Pushed, push
from adaptx.hub.verification import Verdict, verify

__all__ = [
    "Pulled",
    "Pushed",
    "Trust",
    "Verdict",
    "info",
    "listing",
    "pull",
    "push",
    "remove",
    "search",
    "site",
    "verify",
]
