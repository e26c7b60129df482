"""The default model of labelwise: the folder ``model`` beside this file, and nothing to call.

``labelwise.Tagger.from_pretrained()`` finds it.
"""

__version__ = "0.1.0"
