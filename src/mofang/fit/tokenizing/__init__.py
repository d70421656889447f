"""Vocabularies: how they are learnt (learning), how texts become ids fast (encoding), where the ids lie (shards)."""
