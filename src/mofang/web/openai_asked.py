"""What a request of the OpenAI protocols asks for, read strictly: what cannot be done is refused by name, nothing is skipped."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.engine.encode.template import Message
from mofang.engine.generation.sampling import Sampling
from mofang.engine.request import decode_body

WRITTEN_MAX = 1024     # tokens of an answer where nobody says how long it may be
STOPS_MAX, STOP_CHARACTERS_MAX = 4, 256
LOGPROBS_MAX = 20
INPUTS_MAX = 2048
Body = dict[str, Any]

WITHOUT_EFFECT = frozenset(("user", "metadata", "safety_identifier", "prompt_cache_key"))  # for the caller's own books
SAMPLED = ("model", "max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "stream", "stream_options", "n", "logit_bias",
           "presence_penalty", "frequency_penalty")
CHAT = frozenset((*SAMPLED, "messages", "max_completion_tokens", "logprobs", "top_logprobs", "response_format", "tools",
                  "tool_choice",
                  "functions", "function_call", "parallel_tool_calls", "modalities", "audio", "reasoning_effort", "prediction",
                  "service_tier", "store", "web_search_options", "verbosity"))
COMPLETION = frozenset((*SAMPLED, "prompt", "suffix", "echo", "best_of", "logprobs"))
EMBEDDING = frozenset(("model", "input", "encoding_format", "dimensions"))

# what each field may say without anything being done about it; anything else is refused by the field's name
IDLE: dict[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "logit_bias": ({},), "presence_penalty": (0,), "frequency_penalty": (0,), "tools": ([],),
    "tool_choice": ("none", "auto"), "functions": ([],), "function_call": ("none", "auto"), "parallel_tool_calls": (True, False),
    "modalities": (["text"],), "audio": (), "reasoning_effort": (), "prediction": (), "service_tier": ("auto", "default"),
    "store": (False,), "web_search_options": (), "verbosity": (), "response_format": ({"type": "text"},), "suffix": ("",),
    "echo": (False,),
}


@dataclass(frozen=True)
class Generation:
    """A text that is asked for: what stands before it, how to write it, how to send it."""

    model: str
    messages: list[Message]
    prompt: str
    sampling: Sampling
    stream: bool
    usage: bool   # a last event says what was used


def read_body(raw: bytes) -> Body:
    """The body as an object."""
    body = decode_body(raw)
    if not isinstance(body, dict):
        raise MofangError("parameter-wrong", parameter="body", wanted="a JSON object")
    return {name: value for name, value in body.items() if value is not None}


def read_chat(raw: bytes) -> Generation:
    """A request of ``/v1/chat/completions``."""
    body = read_body(raw)
    _known(body, CHAT)
    told = -1
    if _boolean(body, "logprobs"):
        told = _whole(body, "top_logprobs", 0, 0, LOGPROBS_MAX)
    elif "top_logprobs" in body:
        raise MofangError("parameter-wrong", parameter="top_logprobs", wanted="logprobs: true beside it")
    if "max_tokens" in body and "max_completion_tokens" in body and body["max_tokens"] != body["max_completion_tokens"]:
        raise MofangError("parameter-wrong", parameter="max_tokens", wanted="as max_completion_tokens, or left out")
    body.setdefault("max_tokens", body.get("max_completion_tokens", WRITTEN_MAX))
    return Generation(_text(body, "model"), _messages(body), "", _sampling(body, told), *_streaming(body))


def read_completion(raw: bytes) -> Generation:
    """A request of ``/v1/completions``: one prompt, as text."""
    body = read_body(raw)
    _known(body, COMPLETION)
    if body.get("logprobs") not in (None, 0, False):
        raise MofangError("parameter-unsupported", parameter="logprobs")
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        if isinstance(prompt, list) and prompt:
            raise MofangError("parameter-unsupported", parameter="prompt")
        raise MofangError("parameter-wrong", parameter="prompt", wanted="a text")
    body.setdefault("max_tokens", 16)  # the protocol's own default
    return Generation(_text(body, "model"), [], prompt, _sampling(body, -1), *_streaming(body))


@dataclass(frozen=True)
class Embedding:
    """Vectors that are asked for."""

    model: str
    texts: list[str]
    base64: bool
    dimensions: int  # 0: as many as the model gives


def read_embedding(raw: bytes) -> Embedding:
    """A request of ``/v1/embeddings``: a text or a list of texts."""
    body = read_body(raw)
    _known(body, EMBEDDING)
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if isinstance(texts, list) and texts and all(isinstance(one, int | list) for one in texts):
        raise MofangError("parameter-unsupported", parameter="input (token ids)")
    if not isinstance(texts, list) or not 0 < len(texts) <= INPUTS_MAX or not all(isinstance(one, str) for one in texts):
        raise MofangError("parameter-wrong", parameter="input", wanted=f"a text, or 1 to {INPUTS_MAX} texts")
    form = body.get("encoding_format", "float")
    if form not in ("float", "base64"):
        raise MofangError("parameter-wrong", parameter="encoding_format", wanted="float or base64")
    return Embedding(_text(body, "model"), texts, form == "base64", _whole(body, "dimensions", 0, 1, 100_000))


def _known(body: Body, names: frozenset[str]) -> None:
    for name, value in body.items():
        if name in WITHOUT_EFFECT and name not in names:
            continue
        if name not in names:
            raise MofangError("parameter-unknown", parameter=name, nearest=nearest(name, sorted(names)))
        if name in IDLE and value not in IDLE[name]:
            raise MofangError("parameter-unsupported", parameter=name)


def _sampling(body: Body, told: int) -> Sampling:
    return Sampling(
        max_tokens=_whole(body, "max_tokens", WRITTEN_MAX, 1, 1_000_000), temperature=_number(body, "temperature", 1.0, 0.0, 2.0),
        top_k=_whole(body, "top_k", 0, 0, 1_000_000), top_p=_number(body, "top_p", 1.0, 0.0, 1.0) or 1e-9, stop=_stops(body),
        seed=_whole(body, "seed", secrets.randbits(31), -(2**63), 2**63) & (2**63 - 1), logprobs=told)


def _streaming(body: Body) -> tuple[bool, bool]:
    stream, options = _boolean(body, "stream"), body.get("stream_options", {})
    if not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"}:
        raise MofangError("parameter-wrong", parameter="stream_options", wanted='{"include_usage": true or false}')
    if options and not stream:
        raise MofangError("parameter-wrong", parameter="stream_options", wanted="stream: true beside it")
    return stream, _boolean(options, "include_usage")


def _messages(body: Body) -> list[Message]:
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        raise MofangError("parameter-wrong", parameter="messages", wanted="a list of at least one message")
    return [_message(one, f"messages[{place}]") for place, one in enumerate(given)]


def _message(given: object, at: str) -> Message:
    if not isinstance(given, dict) or not isinstance(given.get("role"), str):
        raise MofangError("parameter-wrong", parameter=at, wanted='{"role": …, "content": …}')
    role = "system" if given["role"] == "developer" else given["role"]
    if role in ("tool", "function"):
        raise MofangError("parameter-unsupported", parameter=f"{at}.role {role}")
    if role not in ("system", "user", "assistant"):
        raise MofangError("parameter-wrong", parameter=f"{at}.role", wanted="system, developer, user or assistant")
    for name in set(given) - {"role", "content"}:
        if given[name] not in (None, [], "") and name not in ("name", "refusal", "annotations"):
            raise MofangError("parameter-unsupported", parameter=f"{at}.{name}")
        if name == "name" and given[name]:
            raise MofangError("parameter-unsupported", parameter=f"{at}.name")
    content = given.get("content")
    if isinstance(content, list):
        content = "".join(_part(one, f"{at}.content[{place}]") for place, one in enumerate(content))
    if not isinstance(content, str):
        raise MofangError("parameter-wrong", parameter=f"{at}.content", wanted="a text, or a list of text parts")
    return {"role": role, "content": content}


def _part(given: object, at: str) -> str:
    if isinstance(given, dict) and given.get("type") == "text" and isinstance(given.get("text"), str):
        return str(given["text"])
    kind = given.get("type") if isinstance(given, dict) else None
    if kind in ("image_url", "input_audio", "file", "refusal"):
        raise MofangError("parameter-unsupported", parameter=f"{at} {kind}")
    raise MofangError("parameter-wrong", parameter=at, wanted='{"type": "text", "text": …}')


def _stops(body: Body) -> tuple[str, ...]:
    given = body.get("stop", [])
    stops = [given] if isinstance(given, str) else given
    if not isinstance(stops, list) or len(stops) > STOPS_MAX or not all(
            isinstance(one, str) and 0 < len(one) <= STOP_CHARACTERS_MAX for one in stops):
        wanted = f"a text, or up to {STOPS_MAX}, of 1 to {STOP_CHARACTERS_MAX} signs"
        raise MofangError("parameter-wrong", parameter="stop", wanted=wanted)
    return tuple(stops)


def _text(body: Body, name: str) -> str:
    return str(_checked(body, name, None, lambda value: isinstance(value, str) and value != "", "a name"))


def _boolean(body: Mapping[str, Any], name: str) -> bool:
    return bool(_checked(body, name, False, lambda value: isinstance(value, bool), "true or false"))


def _whole(body: Body, name: str, otherwise: int, least: int, most: int) -> int:
    return int(_checked(body, name, otherwise, lambda value: type(value) is int and least <= value <= most,
                        f"a whole number from {least} to {most}"))


def _number(body: Body, name: str, otherwise: float, least: float, most: float) -> float:
    return float(_checked(body, name, otherwise, lambda value: type(value) in (int, float) and least <= value <= most,
                          f"a number from {least:g} to {most:g}"))


def _checked(body: Mapping[str, Any], name: str, otherwise: Any, good: Callable[[Any], bool], wanted: str) -> Any:
    if name not in body and otherwise is not None:
        return otherwise
    value = body.get(name)
    if not good(value):
        raise MofangError("parameter-wrong", parameter=name, wanted=wanted)
    return value
