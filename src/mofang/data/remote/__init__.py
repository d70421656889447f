"""Sources on other machines: databases, HTTP APIs, web pages, data set hubs and object stores, brought into files that the
readers read.

``bring.py`` is what collect asks; one module for each kind of source; ``address.py`` and ``fetch.py`` decide what may be
connected to; ``registry.py`` and ``secret.py`` keep what a person said of a source, never a password beside it.
"""
