"""Our finders inside presidio, and presidio's own beside ours, without a model and without the network.

presidio's usual start downloads a model and asks a web site for the list of domain endings. Here its engine runs on blank
spaCy pipelines for Chinese and English, with our finder as one recogniser for each language and those of presidio's own
that need no model. Importing it takes seconds; ``find`` alone needs none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.protecting.find import find_all
from mofang.data.protecting.spans import ALL_KINDS, KINDS, LIKELY, Span, settled

# presidio's names of what we find, and back; what it finds beside these is left to presidio's users.
ENTITIES = {
    "identity-card": "CN_IDENTITY_CARD", "card": "CREDIT_CARD", "iban": "IBAN_CODE", "ssn": "US_SSN", "mobile": "CN_MOBILE",
    "landline": "CN_LANDLINE", "phone": "PHONE_NUMBER", "passport": "PASSPORT", "permit": "CN_TRAVEL_PERMIT",
    "email": "EMAIL_ADDRESS", "ip": "IP_ADDRESS", "plate": "CN_PLATE", "wechat": "WECHAT_ID", "address": "STREET_ADDRESS",
    "name": "PERSON",
}  # fmt: skip
KINDS_OF = {entity: kind for kind, entity in ENTITIES.items()} | {"US_PASSPORT": "passport"}
LANGUAGES = ("zh", "en")
# Those that need neither a model nor the network, and whose kinds are ours too.
THEIR_OWN = ("CreditCardRecognizer", "IbanRecognizer", "IpRecognizer", "UsSsnRecognizer", "UsPassportRecognizer")
SCORE_LEAST = 0.5


def recognizer(language: str, kinds: frozenset[str] = ALL_KINDS) -> Any:
    """Our finders as a presidio ``EntityRecognizer`` for a language, to be added to anybody's registry."""
    return _recognizer_class()(kinds, language)


@cache
def _recognizer_class() -> type[Any]:
    analyzer = _presidio()

    class MofangRecognizer(analyzer.EntityRecognizer):  # type: ignore[name-defined, misc]
        """Finds what ``mofang protect`` finds."""

        def __init__(self, kinds: frozenset[str], language: str) -> None:
            self.kinds = kinds
            entities = [ENTITIES[kind] for kind in KINDS if kind in kinds]
            super().__init__(supported_entities=entities, supported_language=language, name=f"Mofang ({language})")

        def load(self) -> None:
            """Nothing to load."""

        def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[Any]:
            """presidio's results of one text."""
            return [analyzer.RecognizerResult(ENTITIES[one.kind], one.start, one.end, one.score)
                    for one in find_all([text], self.kinds)[0] if ENTITIES[one.kind] in entities]

    return MofangRecognizer


@cache
def engine() -> Any:
    """An ``AnalyzerEngine`` for Chinese and English with our recognisers and presidio's that need no model."""
    analyzer = _presidio()
    import spacy
    from presidio_analyzer import predefined_recognizers
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    class Blank(SpacyNlpEngine):  # type: ignore[misc, unused-ignore]
        """Words without a model: nothing is downloaded."""

        def __init__(self) -> None:
            super().__init__(models=[{"lang_code": one, "model_name": f"blank:{one}"} for one in LANGUAGES])
            self.nlp: Any = {one: spacy.blank(one) for one in LANGUAGES}

        def load(self) -> None:
            """Nothing to load."""

        def is_loaded(self) -> bool:
            """Always."""
            return True

    registry = analyzer.RecognizerRegistry(recognizers=[], supported_languages=list(LANGUAGES))
    for language in LANGUAGES:
        registry.add_recognizer(recognizer(language))
        for name in THEIR_OWN:
            registry.add_recognizer(getattr(predefined_recognizers, name)(supported_language=language))
    return analyzer.AnalyzerEngine(nlp_engine=Blank(), registry=registry, supported_languages=list(LANGUAGES))


def find_with_presidio(texts: Sequence[str], kinds: frozenset[str] = ALL_KINDS) -> list[list[Span]]:
    """The personal data that our finders and presidio's own find together, in each text."""
    analyze, found = engine(), []
    for text in texts:
        language = "zh" if any("\u4e00" <= sign <= "\u9fff" for sign in text) else "en"
        results = analyze.analyze(text, language=language, score_threshold=SCORE_LEAST) if text.strip() else []
        spans = [Span(one.start, one.end, KINDS_OF[one.entity_type], one.score if one.score < 1 else LIKELY)
                 for one in results if KINDS_OF.get(one.entity_type) in kinds]
        found.append(settled(spans))
    return found


def _presidio() -> Any:
    try:
        import presidio_analyzer
    except ModuleNotFoundError:
        raise MofangError("presidio-missing") from None
    return presidio_analyzer
